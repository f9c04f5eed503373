#!/usr/bin/env bash
# bm25s 0.3.16: its Tokenizer keeps a vocabulary between calls, so a corpus can be tokenized in parts. One
# would guess that a second call adds the new words of its texts, or that it raises. By default it adds words
# only while the vocabulary is empty: every later word that the first part did not have is dropped, without
# a warning, and an index over both parts cannot find it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" bm25s==0.3.16 numpy==2.4.6
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import logging

import bm25s
from bm25s.tokenization import Tokenizer

logging.disable(logging.INFO)
print("bm25s", bm25s.__version__)
parts = [["red apple", "green pear"], ["blue plum", "red plum"]]


def best(**more):
    tokenizer = Tokenizer(stopwords=[])
    rows = [row for part in parts for row in tokenizer.tokenize(part, show_progress=False, **more)]
    index = bm25s.BM25()
    index.index((rows, tokenizer.get_vocab_dict()), show_progress=False)
    scores = index.get_scores(["plum"]) if "plum" in index.vocab_dict else [0.0] * len(rows)
    print(more, "words of each text", [len(row) for row in rows], "texts with 'plum'", [float(score) > 0 for score in scores])
    return [float(score) > 0 for score in scores]


found = best(), best(update_vocab=True)
raise SystemExit(0 if found == ([False] * 4, [False, False, True, True]) else 1)
PY
