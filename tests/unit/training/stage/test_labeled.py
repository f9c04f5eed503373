"""Stages that learn from labelled rows: files, tasks and prompts, both kinds of batches, resuming, and what is refused."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from bothways.training.recipe.data_config import DataConfig
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.recipe_changes import changed_keys
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_data import LOADERS, fingerprint_examples, read_data, read_stage_data
from bothways.training.stage.stage_order import stage_order
from unit.training.material import TEXTS, metrics, mntp, recipe, simcse, state, weights

ROWS = [
    Example(
        query=f"{TEXTS[number]} why",
        positives=(TEXTS[number], f"{TEXTS[number]}!"),
        negatives=(TEXTS[number + 1], TEXTS[number + 2]),
        query_prompt="Ask: ",
        task="qa" if number % 3 else "nli",
    )
    for number in range(20)
]


def supervised(**changes) -> dict:
    return {
        "name": "supervised",
        "objective": {"kind": "supervised", "max_length": 24, "attention_dropout": 0.1, "scale": 20.0},
        "data": {"source": "rows.jsonl", "batches": "homogeneous"},
        "batch": {"size": 2, "accumulation": 2},
        "optim": {"lr": 1e-3, "steps": 7},
        "adapter": {"r": 4, "dropout": 0.2},
        "save_every": 3,
        "log_every": 2,
        **changes,
    }


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def flag(name: str, count: int) -> list[dict]:
    return [{"query": f"{name} {n}?", "pos": [f"{name} is {n}"], "neg": [f"{name} is not {n}"]} for n in range(count)]


def latent(made: Recipe) -> Recipe:
    return override(made, "pooling={mode: latent_attention, latents: 8, heads: 2}")


def test_resuming_equals_the_uninterrupted_run(tmp_path: Path, monkeypatch) -> None:
    """Homogeneous batches, draws of positives and negatives, and a pooling with parameters, across epochs."""
    made = latent(recipe(tmp_path, supervised()))
    bw.train(made, tmp_path / "whole", texts=ROWS)
    plain = Stepper.__call__

    def with_signal(self, number, lr, *, interrupted=False):
        if number == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", with_signal)
        with pytest.raises(Interrupted, match="after step 4 of 7"):
            bw.train(made, tmp_path / "out", texts=ROWS)
    with pytest.raises(InputError, match="texts has changed"):
        bw.train(made, tmp_path / "out", resume=True, texts=[*ROWS[:-1], replace(ROWS[-1], negatives=("another",))])
    bw.train(made, tmp_path / "out", resume=True, texts=ROWS)
    stage = "1-supervised"
    assert state(tmp_path / "out", stage, 7)["losses"] == state(tmp_path / "whole", stage, 7)["losses"]
    assert metrics(tmp_path / "out") == metrics(tmp_path / "whole")
    one, other = (weights(tmp_path / name) for name in ("out", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    first, second = (bw.load(tmp_path / name, dtype="float32").encode(TEXTS[:4]) for name in ("out", "whole"))
    assert np.array_equal(first, second)
    assert {"accuracy", "alignment", "masked"} <= metrics(tmp_path / "out")[1].keys()


def test_bfloat16_training_keeps_the_trained_pooling(tmp_path: Path) -> None:
    made = latent(recipe(tmp_path, supervised(), dtype="bfloat16"))
    seen = {}
    plain = Stepper.__call__

    def watching(self, number, lr, *, interrupted=False):
        result = plain(self, number, lr, interrupted=interrupted)
        seen.update({name: each.detach().clone() for name, each in self.encoder.pooling.named_parameters()})
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "__call__", watching)
        bw.train(made, tmp_path / "out", texts=ROWS)
    # read back in the type that the recipe asks for, so the folder's own float32 is read here
    kept = dict(bw.load(tmp_path / "out", dtype="float32").pooling.named_parameters())
    fresh = dict(latent_start(made, tmp_path).pooling.named_parameters())
    assert seen.keys() == kept.keys() == fresh.keys()
    assert all(torch.equal(seen[name], kept[name]) for name in seen)
    assert all(not torch.equal(seen[name], fresh[name]) for name in seen)


def latent_start(made: Recipe, folder: Path):
    from bothways.training.stage.base_encoder import open_base

    return open_base(StageContext(made, 0), device=torch.device("cpu"), dtype=torch.float32)


def test_mntp_before_it_leaves_the_pooling_alone(tmp_path: Path) -> None:
    made = latent(recipe(tmp_path, mntp(optim={"lr": 1e-3, "steps": 2}), supervised(optim={"lr": 1e-3, "steps": 1})))
    bw.train(made, tmp_path / "out", texts={"mntp": TEXTS, "supervised": ROWS})
    fresh = dict(latent_start(made, tmp_path).pooling.named_parameters())
    middle = dict(bw.load(tmp_path / "out" / "stages" / "1-mntp", dtype="float32").pooling.named_parameters())
    final = dict(bw.load(tmp_path / "out", dtype="float32").pooling.named_parameters())
    assert all(torch.equal(middle[name], fresh[name]) for name in fresh)
    assert all(not torch.equal(final[name], fresh[name]) for name in fresh)


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


def test_every_objective_finds_its_loader() -> None:
    made = Recipe.from_values({"name": "r", "base": "b", "stages": [mntp(), simcse(), supervised()]})
    assert [stage.objective.wants for stage in made.stages] == ["texts", "texts", "examples"]
    assert {stage.objective.wants for stage in made.stages} <= LOADERS.keys()


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (supervised(data={}), r"stages\.0\.data: source: name at least one source"),
        (supervised(data={"source": "a", "tasks": [{"name": "t", "source": "b"}]}), r"data: tasks: name the sources there or"),
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


def test_too_few_rows_of_every_task(tmp_path: Path, caplog) -> None:
    made = recipe(tmp_path, supervised(batch={"size": 20}))
    groups = read_stage_data(made.stages[0], ROWS).groups
    with pytest.raises(InputError, match=r"stages\.supervised: the data gives 13 of one task at most, and one step takes 20"):
        stage_order(StageContext(made, 0), groups, 1)
    stage_order(StageContext(recipe(tmp_path, supervised(batch={"size": 10})), 0), groups, 1)
    assert "no batch of the tasks nli is ever full" in caplog.text


def test_weights_and_tasks_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    data = {"tasks": [{"name": "a", "source": "a.jsonl"}, {"name": "b", "source": "b.jsonl"}]}
    before = recipe(tmp_path, supervised(data=data))
    data["tasks"][1]["weight"] = 0.1
    lines = changed_keys(before.resolved(), recipe(tmp_path, supervised(data=data)).resolved())
    assert lines == ["stages.supervised.data.tasks.b.weight (1.0 → 0.1)"]
