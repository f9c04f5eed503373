#!/usr/bin/env bash
# accelerate 1.15.0, one process: gather_for_metrics takes away the copies that fill up the last batch when
# several processes share it. One would guess that one process loses nothing. Whatever is gathered in the last
# batch is cut to the number of its rows. A query with three candidates has three scores, so of the last
# batch's three queries the first three of nine scores are kept, without a warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" torch==2.13.0 accelerate==1.15.0
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

QUERIES, BATCH, CANDIDATES = 7, 4, 3
for name in ("accelerate", "torch"):
    print(name, version(name))
accelerator = Accelerator(cpu=True)
found = {}
for name, gather in (("gather", accelerator.gather), ("gather_for_metrics", accelerator.gather_for_metrics)):
    queries = accelerator.prepare(DataLoader(torch.arange(QUERIES), batch_size=BATCH))
    found[name] = [len(gather(batch.repeat_interleave(CANDIDATES))) for batch in queries]
    print(f"{name}, {accelerator.num_processes} process: scores of each batch {found[name]}")
right = found == {"gather": [12, 9], "gather_for_metrics": [12, 3]}
raise SystemExit(0 if right and accelerator.num_processes == 1 else 1)
PY
