#!/usr/bin/env bash
# datasets 5.2.0: with_format("numpy") of a column of float64 scores and of a column of uint64 ids (hashes,
# say). One would guess that a column has the numbers of its rows, or the type of its feature. A row is read
# in the feature's type, but a column or a batch becomes float32 and int64: two scores that differ become
# equal, and an id above 2^63 becomes a negative number.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/site-packages" datasets==5.2.0
export HF_HUB_OFFLINE=1
export PYTHONPATH="$work/site-packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import datasets
import numpy as np

print("datasets", datasets.__version__)
ids = np.array([2**64 - 1, 2**63 + 5], dtype=np.uint64)
rows = datasets.Dataset.from_dict({"id": ids, "score": [0.1, 0.1 + 1e-10]})
print(rows.features)
rows = rows.with_format("numpy")
by_row = {name: [row[name] for row in rows] for name in ("id", "score")}
by_column = rows[:]
for name in ("id", "score"):
    print(f"{name}: by row {[str(value) for value in by_row[name]]}, as a column {by_column[name].dtype} {by_column[name].tolist()}")
whole = by_row["id"] == ids.tolist() and by_row["score"][0] < by_row["score"][1]
changed = by_column["id"].tolist() == [-1, -(2**63) + 5] and by_column["score"][0] == by_column["score"][1]
raise SystemExit(0 if whole and changed else 1)
PY
