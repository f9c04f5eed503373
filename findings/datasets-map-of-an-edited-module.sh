#!/usr/bin/env bash
# datasets 5.2.0: map keeps its results on disk, under a hash of the data and of the function. One would guess
# that an edited function is another function. For one that is imported from a module, and for an object of
# such a class, the hash is that of its name: after the module is edited, a new process gets the old results,
# so vectors of a text depend on when they were first computed. A function of the script itself is hashed by
# its code and the numbers that it uses.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" datasets==5.2.0
export HF_HUB_OFFLINE=1 HF_HOME="$work/cache" PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
echo '{"text": "abc"}' >rows.jsonl
cat >run.py <<'PY'
import json

import datasets
import helpers

datasets.disable_progress_bars()
FACTOR = helpers.FACTOR


def own(row):
    return {"length": FACTOR * len(row["text"])}


rows = datasets.load_dataset("json", data_files="rows.jsonl", split="train")
made = {"imported function": helpers.length, "imported class": helpers.Length(), "function of the script": own}
print(json.dumps({name: rows.map(function)[0]["length"] for name, function in made.items()}))
PY
cat >edit.py <<'PY'
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

MODULE = """FACTOR = {factor}
def length(row):
    return {{"length": {factor} * len(row["text"])}}
class Length:
    def __call__(self, row):
        return length(row)
"""
print("datasets", version("datasets"))
found = []
for factor in (1, 100):
    Path("helpers.py").write_text(MODULE.format(factor=factor))
    answer = subprocess.run([sys.executable, "run.py"], check=True, capture_output=True, text=True)
    found.append(json.loads(answer.stdout))
    print(f"factor {factor}:", found[-1])
raise SystemExit(0 if set(found[0].values()) == {3} and list(found[1].values()) == [3, 3, 300] else 1)
PY
python3 -W ignore edit.py
