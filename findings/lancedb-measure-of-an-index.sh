#!/usr/bin/env bash
# lancedb 0.40.0: a search that names no distance measures L2. Then an index with metric="cosine" is created to
# make it faster. One would guess that the same search goes on measuring L2, or that all searches of the table
# measure cosine from now on. It takes the measure of the index if it uses the index. Its exact form,
# bypass_vector_index(), goes back to L2, so the share of exact hits that an index finds comes out wrong.
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

ROWS, WIDTH, TOP = 400, 8, 4
print("lancedb", version("lancedb"))
random = np.random.default_rng(0)
vectors = (random.standard_normal((ROWS, WIDTH)) * random.uniform(0.1, 5, (ROWS, 1))).astype(np.float32)
query = vectors[0] / 5
column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH)
table = lancedb.connect("base").create_table("texts", pa.table({"row": range(ROWS), "vector": column}))


def rows(search):
    return [each["row"] for each in search.limit(TOP).to_list()]


found = {"no index": rows(table.search(query))}
# one partition, which every search reads: the index leaves out no row
table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_FLAT", num_partitions=1)
found["index of cosine"] = rows(table.search(query))
found["bypass_vector_index()"] = rows(table.search(query).bypass_vector_index())
found['distance_type("cosine")'] = rows(table.search(query).distance_type("cosine"))
nearest = np.argsort(np.linalg.norm(vectors - query, axis=1), kind="stable")[:TOP].tolist()
angles = vectors @ query / np.linalg.norm(vectors, axis=1)
right = np.argsort(-angles, kind="stable")[:TOP].tolist()
print(f"brute force: by L2 {nearest}, by cosine {right}")
for name, values in found.items():
    print(f"{name}: {values}")
expected = [nearest, right, nearest, right]
raise SystemExit(0 if list(found.values()) == expected and nearest != right else 1)
PY
