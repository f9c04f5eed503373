#!/usr/bin/env bash
# lancedb 0.40.0: a column of uint8 holds the bits of vectors, and is searched by Hamming distance. A query may
# hold the same bits as int8, as numpy's view gives them and as "binary" vectors of several libraries have them
# (less 128). One would guess that its bytes are taken as they are, or that another type is refused. The query
# is converted through float32, and each number outside 0 to 255 becomes 0 without a warning: a row is not at
# distance 0 from itself.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" lancedb==0.40.0 pyarrow==26.0.1 numpy==2.4.6
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

import lancedb
import numpy as np
import pyarrow as pa

ROWS, BITS = 50, 64
print("lancedb", version("lancedb"))
stored = np.packbits(np.random.default_rng(0).standard_normal((ROWS, BITS)) > 0, axis=1)
column = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), BITS // 8)
table = lancedb.connect("base").create_table("bits", pa.table({"row": range(ROWS), "vector": column}))


def distances(query):
    """The Hamming distance of each row, in the order of rows."""
    found = table.search(query).distance_type("hamming").limit(ROWS).to_list()
    return [each["_distance"] for each in sorted(found, key=lambda each: each["row"])]


def counted(query):
    return np.unpackbits(query ^ stored, axis=1).sum(1).tolist()


query = stored[0]
same = {"uint8": query, "int8, the same bits": query.view(np.int8)}
same["int8, less 128"] = (query.astype(int) - 128).astype(np.int8)
found = {}
for name, form in same.items():
    zeroed = np.where(form < 0, 0, form).astype(np.uint8)
    found[name] = [distances(form) == counted(query), distances(form) == counted(zeroed)]
    print(f"{name}: row 0 has distance {distances(form)[0]:.0f} from itself", end=", ")
    print(f"as its bits {found[name][0]}, as bits with 0 for each negative number {found[name][1]}")
expected = {"uint8": [True, True], "int8, the same bits": [False, True], "int8, less 128": [False, True]}
raise SystemExit(0 if found == expected else 1)
PY
