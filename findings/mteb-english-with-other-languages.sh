#!/usr/bin/env bash
# mteb 2.26.24: get_tasks(task_types=["STS"], languages=["eng"]) is meant to give English tasks. One would guess that
# a task of many languages is cut to its English part, or that exclusive_language_filter=True, which is there for
# it, does so. Each part that has English on one side stays, with the filter too, because it is not passed on
# unless tasks are chosen by name. So the "English" STS17 is a mean over English pairs and pairs of English with
# Arabic, German, Spanish, French, Italian, Dutch and Turkish. By name the filter keeps the English pairs alone,
# as the English benchmark does.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" torch==2.13.0 mteb==2.26.24
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1 MTEB_CACHE="$work/cache"
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - 2>/dev/null <<'PY'
from importlib.metadata import version

import mteb

print("mteb", version("mteb"))


def parts(tasks):
    return next(sorted(task.hf_subsets) for task in tasks if task.metadata.name == "STS17")


options = {"languages": ["eng"], "task_types": ["STS"]}
exclusive = {"languages": ["eng"], "exclusive_language_filter": True}
found = {
    "by type": parts(mteb.get_tasks(**options)),
    "by type, exclusive": parts(mteb.get_tasks(**options, exclusive_language_filter=True)),
    "by name, exclusive": parts(mteb.get_tasks(tasks=["STS17"], **exclusive)),
    "MTEB(eng, v2)": parts(mteb.get_benchmark("MTEB(eng, v2)").tasks),
}
for name, subsets in found.items():
    print(f"{name}: STS17 of {', '.join(subsets)}")
first, second, *right = found.values()
raise SystemExit(0 if len(first) == 8 and first == second and right == [["en-en"], ["en-en"]] else 1)
PY
