#!/usr/bin/env bash
# pytrec_eval-terrier 0.5.11, with which mteb and others measure rankings: a run is a score for each document.
# One would guess that equal scores keep the order of the run, and that scores that differ are ordered by
# them. Scores are read as float32, and equal ones are ordered by the documents' names, the last name first.
# So 1.000000001 is not above 1, and the same ranking has another nDCG if the documents have other names.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" pytrec_eval-terrier==0.5.11 numpy==2.4.6
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

import pytrec_eval

print("pytrec_eval-terrier", version("pytrec_eval-terrier"))


def reciprocal_rank(right, run):
    return pytrec_eval.RelevanceEvaluator({"query": {right: 1}}, {"recip_rank"}).evaluate({"query": run})["query"]["recip_rank"]


found = {}
for name, right, run in (
    ("equal scores, a is right", "a", {"a": 1.0, "b": 1.0, "c": 1.0}),
    ("equal scores, c is right", "c", {"a": 1.0, "b": 1.0, "c": 1.0}),
    ("a is above by 1e-9", "a", {"a": 1.0 + 1e-9, "b": 1.0, "c": 0.5}),
    ("a is above by 1e-6", "a", {"a": 1.0 + 1e-6, "b": 1.0, "c": 0.5}),
):
    found[name] = round(1 / reciprocal_rank(right, run))
    print(f"{name}: it has rank {found[name]}")
raise SystemExit(0 if list(found.values()) == [3, 1, 2, 1] else 1)
PY
