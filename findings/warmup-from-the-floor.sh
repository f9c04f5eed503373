#!/usr/bin/env bash
# transformers 5.23.0: two schedules end at a floor of a tenth of the learning rate, "warmup_stable_decay" with
# min_lr_ratio=0.1 and "cosine_with_min_lr" with min_lr_rate=0.1. One would guess that both warm up alike. The
# first begins its warm-up at the floor, the second at zero, so with 1,000 steps of warm-up the first step of
# one is as large as the hundredth of the other.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" torch==2.13.0 transformers==5.23.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

import torch
from transformers import get_scheduler

for name in ("transformers", "torch"):
    print(name, version(name))


def rates(name, **options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    steps = {"num_warmup_steps": 10, "num_training_steps": 40}
    schedule = get_scheduler(name, optimizer, **steps, scheduler_specific_kwargs=options)
    found = []
    for _ in range(41):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    print(name, "begins", [round(rate, 2) for rate in found[:4]], "ends", round(found[-1], 2))
    return found


stable = rates("warmup_stable_decay", num_decay_steps=10, min_lr_ratio=0.1)
cosine = rates("cosine_with_min_lr", min_lr_rate=0.1)
same_end = abs(stable[-1] - 0.1) < 1e-6 and abs(cosine[-1] - 0.1) < 1e-6
raise SystemExit(0 if same_end and abs(stable[0] - 0.1) < 1e-6 and cosine[0] == 0 else 1)
PY
