"""FSDP2: two processes that hold half of every block each train what whole models train; other ways
of splitting are refused.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig

import bothways as bw
from bothways.errors import InputError
from bothways.evaluation import devmetric
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from bothways.training.parallel.sharding import Sharding, shard
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.collapse import Collapse, CollapseWatch
from unit.training.material import TEXTS, metrics, mntp, recipe
from unit.training.processes import ONE, SHORT, TWO, full, plus, rows, same_runs, two_processes
from unit.training.stage.test_llara import DOCUMENTS


def chosen(folder: Path) -> Recipe:
    """Frozen bfloat16 beside float32 factors of one row, dropout, and a dev metric that chooses an
    earlier step.
    """
    stage = mntp(adapter={"r": 1, "dropout": 0.2}, optim=SHORT, eval={"metric": "scripted", "every": 1}, save_every=None)
    return recipe(folder, stage, dtype="bfloat16")


class Scripted:
    """Says on the main process that step 2 is best; on the other one, that step 3 is."""

    name = "scripted"

    def __init__(self, rank: int) -> None:
        self.values = [0.1, 0.9, 0.3, 0.2] if rank == 0 else [0.1, 0.2, 0.9, 0.3]

    def __call__(self, encoder: Any) -> float:
        encoder.encode(TEXTS[:2])
        return self.values.pop(0)


def split_runs(folder: Path) -> None:
    """What each of two processes does."""
    rank = int(os.environ["RANK"])
    plain, seen = Stepper.__call__, []

    def signalled(self, number, lr, *, interrupted=False):
        held = [parameter for parameter in self.encoder.backbone.layers.parameters()]
        seen.append(sum(parameter.to_local().numel() for parameter in held) / sum(parameter.numel() for parameter in held))
        if number == 0 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    Stepper.__call__ = signalled  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        bw.train(plus(folder / "plus", TWO), folder / "plus" / "two", texts=TEXTS)
    Stepper.__call__ = plain  # type: ignore[method-assign]
    # stopped one step after the signal; each process holds half of the blocks, frozen weights and
    # factors
    assert seen == pytest.approx([0.5] * 2, abs=0.05)
    bw.train(plus(folder / "plus", TWO), folder / "plus" / "two", resume=True, texts=TEXTS)
    bw.train(full(folder / "full", TWO), folder / "full" / "two", texts=TEXTS)
    bw.train(rows(folder / "rows", TWO), folder / "rows" / "two", texts=DOCUMENTS)
    os.environ["FSDP_RESHARD_AFTER_FORWARD"] = "false"
    for name, asked in (("two", "true"), ("one", "false")):
        os.environ["ACCELERATE_USE_FSDP"] = asked
        devmetric.dev_metric = lambda spec, **_: Scripted(rank)  # type: ignore[assignment]
        bw.train(chosen(folder / "chosen"), folder / "chosen" / name, texts=TEXTS)
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    # a collapse that the main process alone has seen stops both
    calls = iter(
        [{"mean_cosine": 0.1, "effective_rank": 30.0}, {"mean_cosine": 0.999 if rank == 0 else 0.1, "effective_rank": 30.0}]
    )
    CollapseWatch.read = lambda self, encoder: next(calls)  # type: ignore[method-assign]
    with pytest.raises(Collapse):
        bw.train(recipe(folder / "chosen", mntp(optim=SHORT, on_collapse="stop")), folder / "collapsed", texts=TEXTS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sharding")
    (folder / "held.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    for make in (plus, full, rows):
        make(folder / make.__name__, TWO)
    chosen(folder / "chosen")
    # as `accelerate launch` sets it: transformers would wait for what the first process sends
    two_processes(
        folder, "unit.training.parallel.test_sharding.split_runs", {**ASKED, "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    )
    return folder


@pytest.mark.parametrize("make", [plus, full, rows], ids=lambda make: make.__name__)
def test_two_processes_that_share_a_model_train_what_one_trains(runs: Path, make) -> None:
    """LoRA+, tied, stopped and resumed; every weight, head untied; LoRA with uneven parts."""
    folder = runs / make.__name__
    bw.train(make(folder, ONE), folder / "one", texts=DOCUMENTS if make is rows else TEXTS)
    same_runs(folder / "two", folder / "one")
    losses = [line["loss"] for line in metrics(folder / "two") if "loss" in line]
    # or the comparison would say nothing
    assert losses[0] - losses[-1] > 0.01


def test_bfloat16_dropout_and_a_best_step_equal_two_whole_models(runs: Path) -> None:
    folder = runs / "chosen"
    same_runs(folder / "two", folder / "one")
    best = json.loads((folder / "two" / "bothways.json").read_text())["stages"][0]["best"]
    assert best == {"step": 2, "value": 0.9}


def test_a_collapse_that_the_main_process_sees_stops_both(runs: Path) -> None:
    """Both have raised it in `split_runs`."""
    assert (runs / "collapsed" / "metrics.jsonl").exists()
    assert not (runs / "collapsed" / "modules.json").exists()


# --- refusals
# ------------------------------------------------------------------------------------------------------------------

ASKED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "WORLD_SIZE": "2"}


class Doubled(nn.Module):
    """Two blocks of two layers, in which something is not as in a plain decoder."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.config = LlamaConfig(num_hidden_layers=2)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(2))
        if kind == "share parameters":
            self.layers[1] = self.layers[0]
        elif kind == "lists of modules":
            self.layers[1].experts = nn.ModuleList([nn.Linear(2, 2)])
        elif kind == "single numbers":
            self.layers[1].scale = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize("kind", ["share parameters", "lists of modules", "single numbers"])
def test_families_whose_blocks_cannot_be_split_are_refused(kind: str) -> None:
    backbone = Doubled(kind)
    accelerator = SimpleNamespace(num_processes=2, device=torch.device("cpu"))
    with pytest.raises(InputError, match=f"^accelerate: Doubled cannot be sharded, its decoder blocks .*{kind}"):
        shard(SimpleNamespace(backbone=backbone), Sharding(), accelerator)  # type: ignore[arg-type]
