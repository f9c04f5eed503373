#!/usr/bin/env bash
# datasets 5.2.0 loads a local folder whose file names say how many shards the split has
# (train-00000-of-00003.parquet). A good engineer would guess that a shard which never arrived is an
# error. It is not: load_dataset returns the rows of the shards that are there, without an error and
# without a warning, and num_rows is the smaller number.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==24.0.0
export HF_HUB_OFFLINE=1 HF_HOME="$work/home"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import logging
import warnings
from importlib.metadata import version
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet

records: list[str] = []


class Keep(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())


handler = Keep(level=logging.WARNING)
for name in ("datasets", "huggingface_hub", "fsspec"):
    logging.getLogger(name).addHandler(handler)

folder = Path("corpus/data")
folder.mkdir(parents=True)
for shard in range(3):
    table = pyarrow.table({"text": [f"row {number}" for number in range(10 * shard, 10 * shard + 10)]})
    pyarrow.parquet.write_table(table, folder / f"train-{shard:05d}-of-00003.parquet")

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    whole = datasets.load_dataset("corpus", split="train")
    (folder / "train-00001-of-00003.parquet").unlink()
    partial = datasets.load_dataset("corpus", split="train")

told = [text for text in records + [str(each.message) for each in caught] if "shard" in text or "00001" in text or "missing" in text]
print("datasets", version("datasets"))
print("rows with three shards of three:", whole.num_rows)
print("rows with two shards of three:  ", partial.num_rows)
print("texts:", partial["text"][9], "is followed by", partial["text"][10])
print("messages about it:", told)
raise SystemExit(0 if (whole.num_rows, partial.num_rows, told) == (30, 20, []) else 1)
PY
