#!/usr/bin/env bash
# lancedb 0.40.0: merge_insert("id") updates rows whose id is there and inserts the others. A batch holds two rows
# with one id. If the id is in the table, it is refused as ambiguous. One would guess the same for a new id, or
# that one row of the two is kept. Both are inserted without an error, and every later update of the id writes
# both, so a search gives the text twice from then on.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" lancedb==0.40.0 pyarrow==26.0.1 numpy==2.4.6
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

import lancedb
import pyarrow as pa

print("lancedb", version("lancedb"))


def rows(*values):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([0.6, 0.8] * len(values), pa.float32()), 2)
    return pa.table({"id": [key for key, _ in values], "text": [text for _, text in values], "vector": vectors})


table = lancedb.connect("base").create_table("texts", rows((1, "one")))


def upsert(*values):
    """What is in the table after an upsert, or the error."""
    try:
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows(*values))
    except Exception as error:
        return type(error).__name__
    return sorted((row["id"], row["text"]) for row in table.to_arrow().to_pylist())


found = {
    "id 1, which is there, twice": upsert((1, "a"), (1, "b")),
    "id 2, which is new, twice": upsert((2, "a"), (2, "b")),
    "id 2 once more": upsert((2, "c")),
}
for name, values in found.items():
    print(f"{name}: {values}")
expected = ["ValueError", [(1, "one"), (2, "a"), (2, "b")], [(1, "one"), (2, "c"), (2, "c")]]
raise SystemExit(0 if list(found.values()) == expected else 1)
PY
