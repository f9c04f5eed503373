#!/usr/bin/env bash
# qdrant-client 1.20.0, in memory: FusionQuery(RRF) joins rankings by reciprocal rank fusion. One would guess
# the constant of its paper, 60, as in LanceDB and Elasticsearch. It is 2, counted from rank 0, so one first
# place outweighs two third places: the row that is first in one ranking and sixth in the other comes before
# the row that is third in both. With 60 it is the other way round, so a hybrid search that moves from one
# store to another has another ranking.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" qdrant-client==1.20.0 numpy==2.4.6
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import math
from importlib.metadata import version

from qdrant_client import QdrantClient, models

print("qdrant-client", version("qdrant-client"))
rankings = {"words": ["once", "a", "both", "b", "c", "d"], "vectors": ["e", "f", "both", "g", "h", "once"]}
names = sorted({name for ranking in rankings.values() for name in ranking})


def vector(ranking, name):
    angle = (ranking.index(name) + 1) / 20 if name in ranking else 1.5
    return [math.cos(angle), math.sin(angle)]


client = QdrantClient(":memory:")
size = models.VectorParams(size=2, distance=models.Distance.COSINE)
client.create_collection("texts", vectors_config=dict.fromkeys(rankings, size))
points = [
    models.PointStruct(id=place, vector={kind: vector(ranking, name) for kind, ranking in rankings.items()}, payload={"name": name})
    for place, name in enumerate(names)
]
client.upsert("texts", points)
found = {}
for title, fusion in (
    ("FusionQuery(RRF)", models.FusionQuery(fusion=models.Fusion.RRF)),
    ("RrfQuery(k=60)", models.RrfQuery(rrf=models.Rrf(k=60))),
):
    parts = [models.Prefetch(query=[1.0, 0.0], using=kind, limit=6) for kind in rankings]
    answer = client.query_points("texts", prefetch=parts, query=fusion, limit=2)
    found[title] = [point.payload["name"] for point in answer.points]
    print(f"{title}:", [(point.payload["name"], round(point.score, 4)) for point in answer.points])
raise SystemExit(0 if [best[0] for best in found.values()] == ["once", "both"] else 1)
PY
