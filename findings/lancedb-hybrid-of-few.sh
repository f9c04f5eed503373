#!/usr/bin/env bash
# lancedb 0.40.0: a hybrid search joins a ranking by vectors with one by words (reciprocal rank fusion). One
# would guess that limit(2) gives the first two results of limit(6). But the limit cuts both rankings before
# they are joined: the row that is third in both wins with limit(3), is second with limit(6), and is missing
# with limit(2).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" lancedb==0.40.0
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import lancedb
from lancedb.rerankers import RRFReranker

print("lancedb", lancedb.__version__)
apples = [0, 0, 3, 5, 4, 0]  # of six words of each text
rows = [
    {"id": place, "vector": [1.0, place / 10], "text": " ".join(["apple"] * count + ["pear"] * (6 - count))}
    for place, count in enumerate(apples)
]
table = lancedb.connect("base").create_table("rows", rows)
table.create_fts_index("text")
print("by vectors:", [row["id"] for row in table.search([1.0, 0.0]).limit(6).to_list()])
print("by words:", [row["id"] for row in table.search("apple", query_type="fts").limit(6).to_list()])
found = {}
for limit in (1, 2, 3, 6):
    query = table.search(query_type="hybrid").vector([1.0, 0.0]).text("apple").rerank(RRFReranker())
    found[limit] = [row["id"] for row in query.limit(limit).to_list()]
    print(f"hybrid, limit({limit}):", found[limit])
raise SystemExit(0 if found[3][0] == 2 and found[6][:2] == [3, 2] and 2 not in found[2] else 1)
PY
