#!/usr/bin/env bash
# faiss-cpu 1.15.1: a search in IndexHNSWFlat takes an IDSelector, which says which rows may be found. One
# would guess that it gives the k nearest of these rows, with the recall that a graph has. But rows that are
# left out fill the list of efSearch candidates too. Of 4,000 rows 40 are let through and 10 are asked for:
# some queries get fewer, with -1 in the other places. Of 100 rows on the far side of the query, none is
# found. A flat index gives 10 each time.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" faiss-cpu==1.15.1 numpy==2.4.6
export OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import faiss
import numpy as np

ROWS, WIDTH, K = 4000, 16, 10
print("faiss", faiss.__version__)
draw = np.random.default_rng(0)


def directions(count, center=None, spread=1.0):
    rows = spread * draw.standard_normal((count, WIDTH)).astype(np.float32)
    if center is not None:
        rows += center
    faiss.normalize_L2(rows)
    return rows


axis = np.eye(WIDTH, dtype=np.float32)[:1]
rows, far, queries = directions(ROWS), directions(100, -axis, 0.05), directions(50)
chosen = np.sort(draw.choice(ROWS, 40, replace=False))
graph, flat = faiss.IndexHNSWFlat(WIDTH, 32, faiss.METRIC_INNER_PRODUCT), faiss.IndexFlatIP(WIDTH)
for index in (graph, flat):
    index.add(rows)
    index.add(far)


def found(kind, asked, allowed):
    if kind == "flat":
        ids = flat.search(asked, K, params=faiss.SearchParameters(sel=faiss.IDSelectorBatch(allowed)))[1]
    else:
        options = faiss.SearchParametersHNSW(sel=faiss.IDSelectorBatch(allowed), efSearch=64)
        ids = graph.search(asked, K, params=options)[1]
    return (ids >= 0).sum(1)


least = {}
for kind in ("flat", "graph"):
    some, none = found(kind, queries, chosen), found(kind, axis, np.arange(ROWS, ROWS + len(far)))
    least[kind] = int(some.min()), int(none[0])
    print(f"{kind}: of 40 rows {some.min()} to {some.max()} found, of 100 far ones {none[0]}, asked for {K}")
raise SystemExit(0 if least["flat"] == (K, K) and least["graph"][0] < K and least["graph"][1] == 0 else 1)
PY
