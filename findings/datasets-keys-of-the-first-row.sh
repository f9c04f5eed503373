#!/usr/bin/env bash
# datasets 5.2.0: rows of which some have hard negatives and the first one has none. One would guess that
# the column is made with None where a row lacks it, as load_dataset("json") of the same rows does. But
# Dataset.from_list, Dataset.from_generator and map take the keys of the first row, and the negatives of
# all later rows are gone without a warning. In another order of the rows they are kept.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/site-packages" datasets==5.2.0
export HF_HUB_OFFLINE=1 HF_HOME="$work/cache"
export PYTHONPATH="$work/site-packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import json
from pathlib import Path

import datasets
from datasets import Dataset

datasets.disable_progress_bars()
print("datasets", datasets.__version__)
bare, full = {"query": "a"}, {"query": "b", "negatives": ["x"]}
rows = [bare, full]


def generate():
    yield from rows


Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
plain = Dataset.from_dict({"query": ["a", "b"]})
made = {
    "from_list": Dataset.from_list(rows),
    "from_list, the full row first": Dataset.from_list(rows[::-1]),
    "from_generator": Dataset.from_generator(generate),
    "map": plain.map(lambda row: {} if row["query"] == "a" else {"negatives": ["x"]}),
    "load_dataset of JSON lines": datasets.load_dataset("json", data_files="rows.jsonl", split="train"),
}
kept = set()
for name, found in made.items():
    names = sorted({key for row in found for key in row})
    print(f"{name}: {', '.join(names)}")
    if "negatives" in names:
        kept.add(name)
raise SystemExit(0 if set(made) - kept == {"from_list", "from_generator", "map"} else 1)
PY
