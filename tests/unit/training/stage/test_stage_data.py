"""Reads the data of a stage from files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import ReadInstruction

import bothways as bw
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.recipe.data_config import DataConfig
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_data import LOADERS, fingerprint_examples, read_data, read_stage_data
from bothways.training.stage.stage_order import stage_order
from tiny import tiny_llama
from unit.training.material import TEXTS, metrics, mntp, recipe, simcse
from unit.training.stage.test_labeled import ROWS, supervised


@pytest.mark.parametrize(("texts", "held"), [(55, 3), (50, 2), (64, 3), (9, 0)])
def test_a_share_is_rounded_as_datasets_rounds_it(tmp_path: Path, texts: int, held: int) -> None:
    """5 % are 2.75, 2.5 (to the even number), 3.2 and 0.45. `train[:5%]` of the datasets library has as many rows."""
    stage = recipe(tmp_path, mntp(heldout={"share": 0.05, "every": 5})).stages[0]
    found = read_stage_data(stage, TEXTS[:texts])
    assert (list(found.held_out), list(found.items), found.texts) == (TEXTS[:held], TEXTS[held:texts], TEXTS[held:texts])
    assert (found.origin[-1] == {"held_out": held}) == (held > 0)
    (instruction,) = ReadInstruction("train", to=5, unit="%").to_absolute({"train": texts})
    assert instruction.to == held


def test_texts_come_from_files_with_limit_and_column(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"id": n, "body": text}) + "\n" for n, text in enumerate(TEXTS))
    (tmp_path / "a.jsonl").write_text(rows)
    (tmp_path / "b.jsonl").write_text(rows)
    data = {"source": [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], "column": "body", "limit": 10}
    tiny_llama(tmp_path / "base")
    encoder = bw.train(recipe(tmp_path, simcse(data=data)), tmp_path / "out")
    origin = encoder.provenance["stages"][0]["data"]
    assert [entry["texts"] for entry in origin] == [10, 10]
    assert origin[0]["sha256"] == origin[1]["sha256"]


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def flag(name: str, count: int) -> list[dict]:
    return [{"query": f"{name} {n}?", "pos": [f"{name} is {n}"], "neg": [f"{name} is not {n}"]} for n in range(count)]


def test_tasks_from_files_with_prompts_limits_and_weights(tmp_path: Path) -> None:
    tasks = [
        {"name": "colours", "source": write(tmp_path / "a.jsonl", flag("blue", 12)), "query_prompt": "Which? ", "weight": 0.5},
        {"name": "numbers", "source": [write(tmp_path / "b.jsonl", flag("seven", 9))], "document_prompt": "D: ", "limit": 6},
    ]
    data = {"tasks": tasks, "batches": "homogeneous"}
    made = recipe(tmp_path, supervised(data=data, heldout={"data": {"source": str(tmp_path / "b.jsonl")}, "every": 4}))
    assert Recipe.from_yaml(made.to_yaml()) == made
    found = read_data(made.stages[0].data, "examples")
    assert {(row.task, row.query_prompt, row.document_prompt) for row in found.items} == {
        ("colours", "Which? ", ""),
        ("numbers", "", "D: "),
    }
    assert [(len(group.rows), group.task, group.weight, group.per_epoch) for group in found.groups] == [
        (12, "colours", 0.5, 6),
        (6, "numbers", 1.0, 6),
    ]
    order = stage_order(StageContext(made, 0), found.groups_of(18), 1)
    assert order.steps_per_epoch == 2
    tasks_seen = [{found.items[row].task for micro in (0, 1) for row in order.rows(step, micro, 0)} for step in range(4)]
    assert all(len(each) == 1 for each in tasks_seen)
    encoder = bw.train(made, tmp_path / "out")
    origin = encoder.provenance["stages"][0]["data"]
    assert [(entry["examples"], entry["weight"], entry["tasks"]) for entry in origin] == [
        (12, 0.5, ["colours"]),
        (6, 1.0, ["numbers"]),
    ]
    assert all(len(entry["sha256"]) == 64 and entry["files"] for entry in origin)
    assert [line["step"] for line in metrics(tmp_path / "out") if "heldout_loss" in line] == [4, 7]


def test_a_plain_source_needs_no_tasks(tmp_path: Path) -> None:
    data = {"source": [write(tmp_path / name, flag(name, 8)) for name in ("one.jsonl", "two.jsonl")], "query_prompt": "Q: "}
    found = read_data(DataConfig(**data), "examples")
    assert [group.task for group in found.groups] == ["one", "two"]
    assert {row.query_prompt for row in found.items} == {"Q: "}
    plan = bw.train(recipe(tmp_path, supervised(data=data)), dry_run=True)
    (stage,) = plan.stages
    assert (stage.objective, stage.texts, stage.examples, stage.steps) == ("supervised", 16, 16, 7)
    assert stage.tokens > 0


def test_a_source_of_the_last_stage_is_looked_for_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Stepper, "__call__", lambda *_, **__: pytest.fail("trained"))
    data = {"tasks": [{"name": "a", "source": "no/such/rows.jsonl"}]}
    with pytest.raises(OSError, match="no such file"):
        bw.train(recipe(tmp_path, mntp(), supervised(data=data)), tmp_path / "out")


def test_fingerprints_see_every_field() -> None:
    row = Example("q", ("p",), ("n",), (1.0,), (0.5,), "a", "b", "t", "l")
    changes = {"query": "Q", "positives": ("P",), "negatives": ("N",), "positive_scores": (2.0,), "negative_scores": None}
    changes |= {"query_prompt": "", "document_prompt": "", "task": "", "label": None}
    prints = {fingerprint_examples([replace(row, **{key: value})]) for key, value in changes.items()}
    assert len(prints | {fingerprint_examples([row])}) == len(changes) + 1
    assert fingerprint_examples([row]) == fingerprint_examples([replace(row)])
    assert fingerprint_examples([row, row]) != fingerprint_examples([row])


SCORED = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "score": n} for n in range(3)]


@pytest.mark.parametrize(
    ("wants", "rows", "text"),
    [
        ("texts", [{"text": f"text {n}"} for n in range(3)], lambda item: item),
        ("documents", [{"text": f"document {n}"} for n in range(3)], lambda item: item),
        ("examples", flag("blue", 3), lambda item: item.query),
        ("passages", [{"text": f"Document {n}."} for n in range(3)], lambda item: item),
        ("pairs", SCORED, lambda item: (item.first, item.second, item.score)),
    ],
)
def test_every_source_of_every_kind_is_read_in_order(tmp_path: Path, wants: str, rows: list[dict], text) -> None:
    """And rows in memory are those of the files."""
    expected = [
        row["query"] if wants == "examples" else tuple(row.values()) if wants == "pairs" else row["text"] for row in rows
    ]
    files = [write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", rows[:2])]
    found = read_data(DataConfig(source=files), wants)
    assert [text(item) for item in found.items] == expected + expected[:2]
    assert [entry["sha256"] for entry in found.origin] == [
        read_data(DataConfig(source=file), wants).fingerprint for file in files
    ]
    given = LOADERS[wants].given(list(found.items), DataConfig(source="memory"))
    assert (given.items, given.texts) == (found.items, found.texts)


def test_every_objective_finds_its_loader() -> None:
    made = Recipe.from_values({"name": "r", "base": "b", "stages": [mntp(), simcse(), supervised()]})
    assert [stage.objective.wants for stage in made.stages] == ["texts", "texts", "examples"]
    assert {stage.objective.wants for stage in made.stages} <= LOADERS.keys()


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (supervised(data={}), r"stages\.0\.data: source: name at least one source"),
        (
            supervised(data={"source": "a", "tasks": [{"name": "t", "source": "b"}]}),
            r"data: tasks: name the sources either there or",
        ),
        (supervised(data={"tasks": [{"name": "t", "source": "b"}], "limit": 3}), r"limit: set it for each of the tasks"),
        (supervised(data={"tasks": [{"name": "t", "source": "b"}] * 2}), "two are named 't'"),
        (supervised(data={"tasks": [{"name": "t", "source": "b", "wight": 2}]}), "wight.*did you mean 'weight'"),
        (supervised(data={"tasks": [{"name": "t", "source": "b", "weight": 0}]}), r"tasks\.0\.weight"),
        (supervised(data={"source": "a", "column": "c"}), "data.column: has no meaning for the objective supervised"),
        (supervised(data={"source": "a", "batches": "mixed"}), r"data\.batches.*blended"),
        (simcse(data={"source": "a", "batches": "homogeneous"}), "data.batches: has no meaning for the objective contrastive"),
        (mntp(data={"tasks": [{"name": "t", "source": "b"}]}), "data.tasks: has no meaning for the objective mntp"),
        (mntp(heldout={"data": {"source": "a", "dialect": "e5"}, "every": 1}), "heldout.data.dialect: has no meaning"),
    ],
)
def test_wrong_data_gets_one_line(stage: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Recipe.from_values({"name": "r", "base": "b", "stages": [stage]}, where="r.yaml")
    assert "\n" not in str(caught.value)


def test_rows_given_in_memory_are_of_the_kind_the_objective_wants(tmp_path: Path) -> None:
    made = recipe(tmp_path, simcse(), supervised())
    with pytest.raises(InputError, match=r"texts\[0\]: must be a string \(got Example\)"):
        read_stage_data(made.stages[0], ROWS)
    with pytest.raises(InputError, match=r"texts\[0\]: the objective learns from labeled rows.*\(got str\)"):
        read_stage_data(made.stages[1], TEXTS)
    assert read_stage_data(made.stages[1], {"supervised": ROWS}).items == ROWS
