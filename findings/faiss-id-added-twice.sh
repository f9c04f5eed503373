#!/usr/bin/env bash
# faiss-cpu 1.15.1: IndexIDMap2 finds vectors by ids of one's own. A text has changed, and its new vector is added
# under the id that it has. One would guess that the vector is replaced, or that an error says that the id is
# taken. Both vectors stay: a search gives the id twice, the text is found by what it no longer says, and another
# text loses its place among the first k. reconstruct gives the new vector alone.
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

print("faiss-cpu", faiss.__version__)
old = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 1, 0]], np.float32)
new = np.array([[0.6, 0, 0.8]], np.float32)
index = faiss.IndexIDMap2(faiss.IndexFlatIP(3))
index.add_with_ids(old, np.array([10, 20, 30]))
index.add_with_ids(new, np.array([10]))
scores, ids = index.search(old[:1], 3)
print(f"vectors {index.ntotal}; a search for the old vector of text 10 gives {ids[0].tolist()}, scores {scores[0].round(2).tolist()}")
read = index.reconstruct(10)
print(f"reconstruct(10): {read.round(2).tolist()}")
removed = index.remove_ids(np.array([10]))
print(f"remove_ids([10]) takes away {removed}")
right = ids[0].tolist() == [10, 20, 10] and np.array_equal(read, new[0]) and index.ntotal == 2
raise SystemExit(0 if right and removed == 2 else 1)
PY
