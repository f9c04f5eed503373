#!/usr/bin/env bash
# bm25s 0.3.16: retrieve() always returns k documents. Those beyond the matches share no word with the query and have the score 0, the
# last of the corpus first. Under the variants bm25l and bm25+ they have positive scores, so a test for a score above 0 does not tell
# them apart either. Whoever mines hard negatives this way takes documents that BM25 has not found.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check bm25s==0.3.16 numpy
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import bm25s

corpus = ["the cat sat", "dogs bark loudly", "rivers flow north", "snow falls"]
tokens = bm25s.tokenize(corpus, show_progress=False)
query = bm25s.tokenize(["cat"], show_progress=False)
print("bm25s", bm25s.__version__)
found = {}
for method in ("lucene", "robertson", "bm25l", "bm25+"):
    index = bm25s.BM25(method=method)
    index.index(tokens, show_progress=False)
    documents, scores = index.retrieve(query, k=3, show_progress=False)
    found[method] = documents[0].tolist(), scores[0].tolist()
    print(method, found[method])
order = all(documents == [0, 3, 2] for documents, _ in found.values())
zero = all(found[method][1][1:] == [0, 0] for method in ("lucene", "robertson"))
positive = all(min(found[method][1]) > 0.5 for method in ("bm25l", "bm25+"))
raise SystemExit(0 if order and zero and positive else 1)
PY
