#!/usr/bin/env bash
# mteb 2.26.24: get_tasks(task_types=["STS"], languages=["eng"]) is meant to give the English STS tasks, of which
# STSBenchmark is the best known. One would guess that it holds those of the English benchmark. Tasks that have
# a successor are left out, so it has STSBenchmark.v2 instead, with other rows and two splits, while the
# benchmark "MTEB(eng, v2)" has the first one, as every published table. By name, get_task gives it too.
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


def names(tasks):
    return {task.metadata.name for task in tasks if task.metadata.type == "STS"}


by_type = names(mteb.get_tasks(task_types=["STS"], languages=["eng"]))
benchmark = names(mteb.get_benchmark("MTEB(eng, v2)").tasks)
missing = sorted(benchmark - by_type)
print("of the benchmark, not found by type:", missing)
for name in missing:
    new = mteb.get_task(name).superseded_by
    splits = [mteb.get_task(each).metadata.eval_splits for each in (name, new)]
    print(f"{name} {splits[0]} is replaced by {new} {splits[1]}")
raise SystemExit(0 if "STSBenchmark" in missing and "STSBenchmark.v2" in by_type else 1)
PY
