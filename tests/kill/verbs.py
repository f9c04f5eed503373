"""What the kill test runs: each verb that writes, on a tiny random model and a few texts."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Verb:
    """A command, its output, and what a second try of it is called."""

    words: list[str]
    out: str
    resume: bool = False
    #: a folder in which a stopped run keeps what it has done
    keeps: bool = False


VERBS = {
    "encode": Verb(["encode", "base", "texts.txt", "--out", "v.npy", "--batch-tokens", "256"], "v.npy"),
    "parquet": Verb(["encode", "base", "texts.txt", "--out", "v.parquet", "--batch-tokens", "256"], "v.parquet"),
    "shards": Verb(
        ["encode", "base", "texts.txt", "--out", "v", "--shard-rows", "400", "--batch-tokens", "256"], "v", keeps=True
    ),
    "convert": Verb(["convert", "base", "--out", "enc"], "enc"),
    "prepare": Verb(["prepare", "sts", "pairs.jsonl", "--out", "p.jsonl"], "p.jsonl"),
    "report": Verb(["report", "results.json", "--out", "r.html"], "r.html"),
    "evaluate": Verb(
        ["evaluate", "base", "--task", "sts:pairs.jsonl", "--task", "sts:pairs.jsonl?name=again", "--out", "r.json"],
        "r.json",
        resume=True,
    ),
    "mine": Verb(
        ["mine", "rows.jsonl", "--with", "base", "--negatives", "2", "--out", "m.jsonl", "--perc", "none"],
        "m.jsonl",
        resume=True,
    ),
    "train": Verb(["train", "recipe.yaml", "--out", "run"], "run", resume=True, keeps=True),
    "ablate": Verb(
        [
            "ablate",
            "--base",
            "base",
            "--rows",
            "uni",
            "bi+simcse",
            "--poolings",
            "mean",
            "--tasks",
            "sts:pairs.jsonl",
            "--data",
            "texts.txt",
            "--preset",
            "laptop",
            "--set",
            "stages.simcse.optim.steps=4",
            "--set",
            "stages.simcse.save_every=2",
            "--set",
            "stages.simcse.batch.size=8",
            "--out",
            "abl",
        ],
        "abl",
        keeps=True,
    ),
}

RECIPE = """\
name: kill
base: base
dtype: float32
max_length: 32
stages:
- name: mntp
  objective: {kind: mntp, row_length: 32}
  data: {source: texts.txt, limit: 200}
  batch: {size: 4}
  optim: {lr: 0.001, steps: 6}
  adapter: {r: 4}
  save_every: 2
- name: simcse
  objective: {kind: contrastive, max_length: 16, attention_dropout: 0.3}
  data: {source: texts.txt, limit: 200}
  batch: {size: 8}
  optim: {lr: 0.001, steps: 6}
  adapter: {r: 4}
  eval: {metric: "sts:pairs.jsonl", every: 2}
  save_every: 2
"""


def material(folder: Path) -> None:
    """A tiny model, texts, scored pairs, labelled rows, a recipe and a results file."""
    from tiny import tiny_llama

    folder.mkdir()
    tiny_llama(folder / "base", max_position_embeddings=128)
    generator = random.Random(0)
    words = [
        "river",
        "stone",
        "garden",
        "window",
        "letter",
        "music",
        "winter",
        "bridge",
        "market",
        "color",
        "engine",
        "summer",
        "paper",
        "forest",
        "signal",
        "orange",
    ]
    texts = [" ".join(generator.sample(words, generator.randint(3, 9))) for _ in range(1500)]
    (folder / "texts.txt").write_text("\n".join(texts))
    pairs = [{"sentence1": texts[n], "sentence2": texts[n + 1], "score": n % 11 / 2} for n in range(0, 120, 2)]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    rows = [{"query": texts[n], "pos": [texts[n + 1]]} for n in range(0, 200, 2)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "recipe.yaml").write_text(RECIPE)
