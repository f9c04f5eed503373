"""`--option`: choices of one recipe from the command line, in `bothways recipes` and in `bothways
train`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_recipes_prints_what_was_chosen(run: Run) -> None:
    made = yaml.safe_load(run("recipes", "nv_embed", "--option", "order=reversed").out)
    assert [stage["name"] for stage in made["stages"]] == ["blended", "retrieval"]
    made = yaml.safe_load(run("recipes", "nv_embed", "--option", "retrieval=[asked.jsonl, more.jsonl]").out)
    assert made["stages"][0]["data"]["source"] == ["asked.jsonl", "more.jsonl"]
    assert [task["name"] for task in made["stages"][1]["data"]["tasks"]] == ["python-stdlib"]
    rows = "supervised=[a.jsonl, b.jsonl]"
    made = yaml.safe_load(run("recipes", "llm2vec", "--preset", "laptop", "--option", rows, "--option", "mntp=false").out)
    assert [(stage["name"], stage["data"]["source"]) for stage in made["stages"]] == [("supervised", ["a.jsonl", "b.jsonl"])]


def test_train_knows_them_too(run: Run, tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    nli = tmp_path / "nli.jsonl"
    labels = ("entailment", "contradiction")
    pairs = [{"premise": text, "hypothesis": f"{text} {label}", "label": label} for text in SENTENCES for label in labels]
    nli.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    words = ("--base", base, "--data", nli, "--preset", "laptop", "--option", "supervised=true")
    sets = ("--set", "stages.supervised.optim.steps=2", "--set", "stages.supervised.batch.size=4")
    outcome = run("train", "simcse", *words, *sets, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    stage = json.loads((tmp_path / "out" / "bothways.json").read_text())["stages"][0]
    assert (stage["name"], stage["steps"], stage["data"][0]["examples"]) == ("supervised", 2, len(SENTENCES))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("recipes", "simcse", "--option", "supervized=true"),
            "recipe simcse: no option 'supervized'; did you mean 'supervised'",
        ),
        (("recipes", "simcse", "--option", "supervised"), "--option supervised: expected name=value"),
        (("recipes", "nv_embed", "--option", "order=x"), "order: 'x' does not exist"),
        (("recipes", "nv_embed", "--option", "order=single", "--option", "order=single"), "order: given twice"),
        (
            ("recipes", "nv_embed", "--option", "order=single", "--option", "retrieval=a"),
            "'single' does not have a retrieval stage",
        ),
        (("recipes", "--option", "order=single"), "name the recipe"),
        (("train", "x.yaml", "--option", "order=single"), "only for a recipe by name"),
    ],
)
def test_wrong_options_get_one_line(run: Run, words: tuple[str, ...], message: str) -> None:
    outcome = run(*words)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
