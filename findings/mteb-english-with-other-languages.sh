#!/usr/bin/env bash
# mteb 2.26.24: get_tasks(languages=["eng"]) is meant to give English tasks. One would guess that a task of many
# languages is cut to its English part. Each part that has English on one side stays, so the "English" STS17 is
# a mean over English pairs and pairs of English with Arabic, German, Spanish, French, Italian, Dutch and
# Turkish. A model of English alone is ranked by languages that it never saw. exclusive_language_filter=True
# keeps the English pairs alone, as the English benchmark does.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$work/packages" torch==2.13.0 mteb==2.26.24
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1 MTEB_CACHE="$work/cache"
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - 2>/dev/null <<'PY'
from importlib.metadata import version

import mteb

print("mteb", version("mteb"))


def parts(tasks):
    return next(sorted(task.hf_subsets) for task in tasks if task.metadata.name == "STS17")


options = {"task_types": ["STS"], "languages": ["eng"]}
found = {
    "get_tasks": parts(mteb.get_tasks(**options)),
    "get_tasks, exclusive": parts(mteb.get_tasks(**options, exclusive_language_filter=True)),
    "MTEB(eng, v2)": parts(mteb.get_benchmark("MTEB(eng, v2)").tasks),
}
for name, subsets in found.items():
    print(f"{name}: STS17 of {', '.join(subsets)}")
right = len(found["get_tasks"]) > 1 and found["get_tasks, exclusive"] == found["MTEB(eng, v2)"] == ["en-en"]
raise SystemExit(0 if right else 1)
PY
