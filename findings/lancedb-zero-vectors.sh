#!/usr/bin/env bash
# lancedb 0.40.0: a table of five vectors, of which one is zero (an empty text), ranked by cosine with
# limit(5). One would guess five rows, the zero vector with cosine 0 or at the end. Its distance is not a
# number, and the row is left out: four rows come back. "dot" and "l2" give all five.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" lancedb==0.40.0
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import lancedb

print("lancedb", lancedb.__version__)
vectors = [[1.0, 0.0], [0.0, 0.0], [0.5, 0.5], [0.0, 1.0], [-1.0, 0.0]]
table = lancedb.connect("base").create_table("rows", [{"id": place, "vector": each} for place, each in enumerate(vectors)])
found = {}
for metric in ("cosine", "dot", "l2"):
    rows = table.search([1.0, 0.0]).distance_type(metric).limit(5).to_list()
    found[metric] = sorted(row["id"] for row in rows)
    print(metric, [(row["id"], round(row["_distance"], 3)) for row in rows])
raise SystemExit(0 if found == {"cosine": [0, 2, 3, 4], "dot": [0, 1, 2, 3, 4], "l2": [0, 1, 2, 3, 4]} else 1)
PY
