"""Results files and run folders as `bothways evaluate` and `bothways train` write them, built in
milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from bothways.evaluation.item_scores import pair_items, value_items
from bothways.evaluation.results import Record, Results
from bothways.evaluation.tasks.sts import spearman

EVIL = "<script>window.hacked=1</script>"
PAIRS, QUERIES = 120, 60


def sts_record(quality: float, seed: int, *, pairs: int = PAIRS, text: str = "pair", data: str = "sts") -> Record:
    """Cosines that follow gold scores of 0 to 5 the better, the higher `quality` in [0, 1] is."""
    gold = np.random.default_rng(1).integers(0, 26, pairs) / 5
    noise = np.random.default_rng(seed).standard_normal(pairs)
    cosine = np.tanh(quality * (gold - 2.5) / 2.5 + (1 - quality) * noise)
    items = pair_items(cosine, gold, lambda i: {"first": f"{text} {i} left", "second": f"{text} {i} right"})
    metrics = {"spearman": spearman(cosine, gold), "pearson": float(np.corrcoef(cosine, gold)[0, 1])}
    return Record("sts", "spearman", metrics, {"pairs": pairs, **items}, digest(data), 1.5)


def retrieval_record(quality: float, seed: int) -> Record:
    """nDCG of queries, zero for some."""
    values = np.clip(np.random.default_rng(seed).random(QUERIES) + quality - 0.6, 0, 1)
    items = value_items(
        values, lambda i: {"query": f"query {i}", "relevant": f"document {i}", "found": f"seed {seed} found {i}"}
    )
    return Record("retrieval", "ndcg@10", {"ndcg@10": float(values.mean())}, items, digest("news"), 2.0)


def geometry_record(seed: int) -> Record:
    """Spectrum and the two numbers of the map; the main metric describes."""
    metrics = {"alignment": 0.2 + 0.05 * seed, "uniformity": -1.0 - 0.3 * seed, "effective_rank": 40.0}
    return Record("geometry", "uniformity", metrics, {"spectrum": [round(0.93**i, 6) for i in range(64)]}, digest("sts"), 3.0)


def inside_records(seed: int) -> dict[str, Record]:
    """Layer map, prefix test, passkey grid and perplexity."""
    rng = np.random.default_rng(seed)
    tokens = ["The", " river", " runs", "\n", EVIL, "川", "."]
    heat = rng.random((5, len(tokens))).round(4).tolist()
    triples = [{"prefix": EVIL, "cos_same": 0.9, "cos_other": 0.9 - 0.01 * i} for i in range(-3, 9)]
    grid = [[1.0, 0.5, 0.0], [0.75, 0.25, 0.125]]
    passkey = {"lengths": [512, 1024, 2048], "depths": [0.0, 1.0], "accuracy": grid}
    return {
        "layers:wiki.txt": Record(
            "layers", "mean_cosine", {"mean_cosine": 0.5}, {"heatmap": heat, "tokens": tokens}, digest("wiki"), 1.0
        ),
        "prefix": Record("prefix", "share", {"share": 0.75}, {"triples": triples}, digest("prefix"), 1.0),
        "passkey": Record("passkey", "accuracy", {"accuracy": 0.4375}, passkey, digest("passkey"), 1.0),
        "perplexity:wiki.txt": Record(
            "perplexity", "perplexity", {"perplexity": 12.0 + seed, "loss": 2.5}, {}, digest("wiki"), 1.0
        ),
    }


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def results(quality: float, seed: int, *, name: str = "org/base", full: bool = False, **facts: Any) -> Results:
    """What one call of evaluate gives."""
    records = {
        "sts:data/stsb/dev.jsonl": sts_record(quality, seed),
        "retrieval:data/news": retrieval_record(quality, seed),
        "geometry:data/stsb/dev.jsonl": geometry_record(seed),
    }
    if full:
        records |= inside_records(seed)
    model = {"class": "Encoder", "name": name, "direction": "bidirectional", **facts}
    provenance = {"model": model, "seed": 7, "versions": {"bothways": "0.1.0"}, "command": f"bothways evaluate {name} --seed 7"}
    return Results(records, provenance)


def write_results(folder: Path, count: int, *, full: bool = False) -> list[Path]:
    """Files of `count` models of rising quality."""
    paths = []
    for i in range(count):
        stages = ["mntp", "simcse"][: i % 3]
        name = EVIL if i == 1 else "org/base" if i % 2 == 0 else "別の/とても長い名前の言語モデル"
        paths.append(folder / f"model{i}.json")
        results(0.2 + 0.7 * i / max(1, count - 1), i, name=name, full=full, stages=stages).save(paths[-1])
    return paths


def write_run(folder: Path, *, name: str = "run", dev: bool = True) -> Path:
    """A run's folder of two stages."""
    place = folder / name
    place.mkdir()
    lines: list[dict[str, Any]] = []
    for number, stage in enumerate(("mntp", "simcse")):
        lines.append({"stage": stage, "number": number, "step": 0, "mean_cosine": 0.6, "effective_rank": 40.0})
        for step in range(10, 60, 10):
            lines.append({"stage": stage, "number": number, "step": step, "loss": 5.0 / step, "tokens": step * 100})
        if dev and stage == "simcse":
            scores = ((20, 0.71), (50, 0.69))
            lines += [
                {"stage": stage, "number": number, "step": s, "dev": v, "dev_metric": f"sts:{EVIL}/spearman"} for s, v in scores
            ]
    (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (place / "recipe.yaml").write_text(f"name: llm2vec\nbase: org/base\nseed: 42\nnote: '{EVIL}'\n")
    return place
