#!/usr/bin/env bash
# datasets 5.2.0: a corpus in JSON lines whose ids are strings like "2024-05-01" (a journal, one text a day).
# One would guess that JSON's own types are kept, as strings have quotes there. The column becomes a
# timestamp, so str(id) is "2024-05-01 00:00:00" and no id of the corpus is among the ids of the judgments,
# which are the same strings next to one that is no date.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" datasets==5.2.0
export HF_HUB_OFFLINE=1 HF_HOME="$work/cache"
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import json
from pathlib import Path

import datasets

datasets.disable_progress_bars()
print("datasets", datasets.__version__)


def read(name, ids):
    Path(name).write_text("\n".join(json.dumps({"id": each}) for each in ids))
    rows = datasets.load_dataset("json", data_files=name, split="train")
    print(f"{name}: {rows.features['id']}, first id {str(rows[0]['id'])!r}")
    return [str(row["id"]) for row in rows]


days = ["2024-05-01", "2024-05-02"]
corpus, judged = read("corpus.jsonl", days), read("judged.jsonl", [*days, "appendix"])
shared = set(corpus) & set(judged)
print(f"{len(shared)} of {len(days)} ids are in both")
raise SystemExit(0 if not shared and judged[:2] == days else 1)
PY
