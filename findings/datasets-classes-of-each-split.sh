#!/usr/bin/env bash
# datasets 5.2.0: DatasetDict.class_encode_column("label") numbers the labels of all splits. One would guess that
# a label has one number. Each split is numbered by itself, so if the test split lacks a class, its other
# labels have other numbers than in training, and a good classifier is measured as a bad one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/site-packages" datasets==5.2.0
export HF_HUB_OFFLINE=1
export PYTHONPATH="$work/site-packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import datasets
from datasets import Dataset, DatasetDict

datasets.disable_progress_bars()
print("datasets", datasets.__version__)
splits = DatasetDict(train=Dataset.from_dict({"label": ["bad", "fair", "good"]}), test=Dataset.from_dict({"label": ["fair", "good"]}))
numbers = {}
for name, rows in splits.class_encode_column("label").items():
    names = rows.features["label"].names
    numbers[name] = {names[number]: number for number in rows["label"]}
    print(name, numbers[name])
raise SystemExit(0 if numbers["train"]["good"] == 2 and numbers["test"] == {"fair": 0, "good": 1} else 1)
PY
