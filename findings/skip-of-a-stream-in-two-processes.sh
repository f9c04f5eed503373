#!/usr/bin/env bash
# datasets 5.2.0: take(n) of a stream is kept for validation, and skip(n) is trained on, in two processes by
# split_dataset_by_node. One would guess that the two parts have no row in common, however many processes read
# them. If the stream has several shards, n is divided among the processes: each leaves out n / 2 rows at the
# beginning of its own shards. So rows that one process takes for validation are trained on, and as many others
# are in neither part, without a warning.
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
from datasets.distributed import split_dataset_by_node

KEPT, PROCESSES, ROWS = 4, 2, 5
print("datasets", version("datasets"))


def stream(shards):
    def rows(shards):
        for shard in shards:
            for row in range(ROWS):
                yield {"row": f"{shard}.{row}"}

    return IterableDataset.from_generator(rows, gen_kwargs={"shards": list(range(shards))})


def read(dataset):
    return [each["row"] for each in dataset]


found = {}
for shards in (1, 4):
    validation = read(stream(shards).take(KEPT))
    trained = [read(split_dataset_by_node(stream(shards).skip(KEPT), rank, PROCESSES)) for rank in range(PROCESSES)]
    seen = {row for rows in trained for row in rows}
    neither = sorted(set(read(stream(shards))) - seen - set(validation))
    found[shards] = (sorted(seen & set(validation)), neither)
    print(f"{shards} shard(s): validation {validation}, in training too {found[shards][0]}, in neither {neither}")
raise SystemExit(0 if found == {1: ([], []), 4: (["0.2", "0.3"], ["1.0", "1.1"])} else 1)
PY
