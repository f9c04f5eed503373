#!/usr/bin/env bash
# datasets 5.2.0: a stream is restored with load_state_dict. One would guess that the first pass gives the rest
# of the epoch that was left, and later passes all rows. The state keeps the number of its epoch, and every
# pass with that number begins at it: without set_epoch each later epoch is the same rest, and after a state
# of the end each is empty. A pass with another number ignores the state: one that was saved in epoch 1 begins
# at row 0 unless set_epoch(1) is called before. Neither gives a warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" datasets==5.2.0 pyarrow==26.0.1
export HF_HUB_OFFLINE=1 HF_HOME="$work/cache"
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

from datasets import IterableDataset

ROWS, READ = 8, 3
print("datasets", version("datasets"))


def stream():
    return IterableDataset.from_generator(lambda: ({"row": row} for row in range(ROWS)))


def rows(dataset):
    return [each["row"] for each in dataset]


def state(epoch, read):
    dataset = stream()
    dataset.set_epoch(epoch)
    for _ in zip(range(read), dataset):
        pass
    return dataset.state_dict()


def passes(saved, epochs):
    dataset = stream()
    dataset.load_state_dict(saved)
    found = []
    for epoch in epochs:
        if epoch is not None:
            dataset.set_epoch(epoch)
        found.append(rows(dataset))
    return found


everything, rest = list(range(ROWS)), list(range(READ, ROWS))
found = {
    "state of epoch 0, three passes": passes(state(0, READ), (None, None, None)),
    "state of epoch 0, set_epoch(0), set_epoch(1)": passes(state(0, READ), (0, 1)),
    "state of the end of epoch 0, two passes": passes(state(0, ROWS + 1), (None, None)),
    "state of epoch 1, one pass": passes(state(1, READ), (None,)),
    "state of epoch 1, set_epoch(1)": passes(state(1, READ), (1,)),
}
for name, values in found.items():
    print(f"{name}: {values}")
expected = [[rest, rest, rest], [rest, everything], [[], []], [everything], [rest]]
raise SystemExit(0 if list(found.values()) == expected else 1)
PY
