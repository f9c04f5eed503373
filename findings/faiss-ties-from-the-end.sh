#!/usr/bin/env bash
# faiss-cpu 1.15.1: IndexFlatIP gives equal scores in falling order of their ids: of six equal vectors the three best are 2, 1, 0, and
# of 600 the 200 best begin with 199. The set is the first k, the order is not. Another k changes the rank of every id, so metrics that
# read ranks (MRR, nDCG) change with k when duplicates are in the corpus.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check faiss-cpu==1.15.1 numpy
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import faiss
import numpy

print("faiss", faiss.__version__)
found = {}
for size, k in ((6, 3), (6, 4), (600, 200)):
    index = faiss.IndexFlatIP(4)
    index.add(numpy.ones((size, 4), dtype="float32"))
    found[size, k] = index.search(numpy.ones((1, 4), dtype="float32"), k)[1][0].tolist()
    print(f"{size} equal vectors, best {k}:", found[size, k][:5])
right = all(ids == sorted(ids, reverse=True) and ids[0] == k - 1 for (_, k), ids in found.items())
raise SystemExit(0 if right else 1)
PY
