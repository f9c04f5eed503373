"""Losses and vectors that docs/recipes.md promises, each trained through the command line in two steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.training.loop.metrics import read_metrics
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner

SMALL = (
    "--preset",
    "laptop",
    "--set",
    "stages.*.optim.steps=2",
    "--set",
    "stages.*.batch.size=4",
    "--set",
    "stages.*.log_every=1",
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, labeled rows, scored pairs, texts, and an encoder that can teach."""
    folder = tmp_path_factory.mktemp("options")
    tiny_llama(folder / "base", tokenizer={"add_bos": True})
    bw.convert(folder / "base", dtype="float32").save(folder / "guide")
    rows = [
        {"query": f"{text[:20]} {n}", "positive": f"{text} {n}", "negative": f"{SENTENCES[(place + 3) % 8]} {n}"}
        for n in range(3)
        for place, text in enumerate(SENTENCES)
    ]
    pairs = [{"sentence1": row["query"], "sentence2": row["positive"], "score": n % 5} for n, row in enumerate(rows)]
    for name, lines in (("rows", rows), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (folder / "texts.txt").write_text("\n".join(row["positive"] for row in rows), encoding="utf-8")
    return folder


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]


def trained(run: Run, place: Path, out: Path, *words: object) -> dict[str, Any]:
    """Train, and give the objective of the last stage as the encoder's folder tells it."""
    done = run("train", "simcse", "--base", place / "base", "--out", out, *SMALL, *words)
    assert done.code == 0, done.err
    assert all(np.isfinite(losses(out))) and losses(out)
    objective: dict[str, Any] = json.loads((out / "bothways.json").read_text())["stages"][-1]["objective"]
    return objective


SUPERVISED = ("--option", "supervised=true")


def test_rounded_vectors_of_several_widths_and_their_search(run: Run, place: Path, tmp_path: Path) -> None:
    data = ("--data", place / "rows.jsonl", *SUPERVISED)
    trained(run, place, tmp_path / "plain", *data)
    widths = ("--set", "stages.supervised.objective.matryoshka=[32, 16]")
    bits = ("--set", "stages.supervised.objective.quantize=[binary, int8]")
    objective = trained(run, place, tmp_path / "bits", *data, *widths, *bits)
    assert list(objective["matryoshka"]) == [32, 16] and list(objective["quantize"]) == ["binary", "int8"]
    # three losses of two widths each, in place of one
    assert losses(tmp_path / "bits")[0] > 4 * losses(tmp_path / "plain")[0]
    task = f"retrieval:{place / 'rows.jsonl'}?precision=binary&rescore=4"
    done = run("evaluate", tmp_path / "bits", "--task", task, "--json")
    assert done.code == 0, done.err
    (record,) = json.loads(done.out)["tasks"]
    assert record["name"] == task and record["metrics"]["ndcg@10"] > 0


def test_scored_pairs_by_cosent_and_angle(run: Run, place: Path, tmp_path: Path) -> None:
    data = ("--data", place / "texts.txt", "--option", f"graded={place / 'pairs.jsonl'}")
    trained(run, place, tmp_path / "cosent", *data)
    objective = trained(run, place, tmp_path / "angle", *data, "--set", "stages.graded.objective.angle_weight=1")
    assert objective["kind"] == "graded" and objective["angle_weight"] == 1
    # the stages before are equal, so the first graded loss differs by AnglE's term alone
    assert losses(tmp_path / "angle")[2] > losses(tmp_path / "cosent")[2]
    assert losses(tmp_path / "angle")[:2] == losses(tmp_path / "cosent")[:2]


def test_symmetric_columns_and_a_guide(run: Run, place: Path, tmp_path: Path) -> None:
    data = ("--data", place / "rows.jsonl", *SUPERVISED)
    trained(run, place, tmp_path / "plain", *data)
    every = "[query_to_doc, doc_to_query, query_to_query, doc_to_doc]"
    objective = trained(run, place, tmp_path / "all", *data, "--set", f"stages.supervised.objective.directions={every}")
    assert len(objective["directions"]) == 4
    assert losses(tmp_path / "all")[0] > losses(tmp_path / "plain")[0]  # more columns in one softmax
    guide = f"{{guide: {{encoder: {place / 'guide'}, cache: {tmp_path / 'cache'}}}, guide_margin: 0.1}}"
    objective = trained(run, place, tmp_path / "gist", *data, "--set", f"stages.supervised.objective.false_negatives={guide}")
    assert objective["false_negatives"]["guide_margin"] == 0.1
    masked = [line["masked"] for line in read_metrics(tmp_path / "gist" / "metrics.jsonl") if "masked" in line]
    assert masked and max(masked) > 0  # an untrained guide holds most texts near
    assert losses(tmp_path / "gist")[0] < losses(tmp_path / "plain")[0]  # fewer columns
