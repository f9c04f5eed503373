#!/usr/bin/env bash
# lancedb 0.40.0: rows that are added after the index of words was made are found at once. One would guess
# that they are ranked together with the others. They are scored with other statistics until optimize() is
# called: of two rows with the same text, one in the index and one added later, the scores differ, and a text
# with the word twice is ranked below one that has it once.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" lancedb==0.40.0
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import lancedb

print("lancedb", lancedb.__version__)
old = ["river stones by rain", *["other words of text"] * 4]
new = ["river stones by rain", "river river by rain", *["river words of text"] * 4]
table = lancedb.connect("base").create_table("rows", [{"id": place, "text": text} for place, text in enumerate(old)])
table.create_fts_index("text")
table.add([{"id": place, "text": text} for place, text in enumerate(new, start=len(old))])


def ranked(when):
    rows = table.search("river", query_type="fts").limit(9).to_list()
    print(when, [(row["id"], round(row["_score"], 3)) for row in rows])
    return {row["id"]: row["_score"] for row in rows}


before = ranked("added:")
table.optimize()
after = ranked("optimized:")
twice, equal = len(old) + 1, len(old)
right = after[0] == after[equal] < after[twice]
raise SystemExit(0 if right and before[0] != before[equal] and before[0] > before[twice] else 1)
PY
