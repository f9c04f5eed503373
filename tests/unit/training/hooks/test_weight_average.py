"""Averaged weights against torch's own, in whole runs, after a stop, and patience."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import bothways as bw
from bothways.errors import InputError
from bothways.training.hooks.evaluation import DevMeasurement, exhausted
from bothways.training.hooks.weight_average import WeightAverage
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from bothways.training.loop.stage_run import StageRun
from bothways.training.recipe.stage_config import EvalConfig
from unit.training.hooks.material import moment
from unit.training.material import TEXTS, metrics, recipe, simcse, state, weights

STAGE = "1-simcse"


def test_the_average_equals_torchs() -> None:
    model = torch.nn.Linear(3, 2)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    ours = WeightAverage(parameters=dict(model.named_parameters()), decay=0.9)
    with ours.applied():
        pass  # before the first step there is no average
    for step in range(5):
        with torch.no_grad():
            for each in model.parameters():
                each.add_(torch.randn(each.shape, generator=torch.Generator().manual_seed(step)))
        theirs.update_parameters(model)
        ours.after_step(moment(step + 1))
    before = model.weight.detach().clone()
    with ours.applied():
        for mine, each in zip(model.parameters(), theirs.module.parameters()):
            torch.testing.assert_close(mine, each)
        assert not torch.allclose(model.weight, before)
    assert torch.equal(model.weight, before)


def stopped_and_resumed(made, out: Path, at: int, monkeypatch) -> None:
    """Stop a run by a signal in the step after `at`, and resume it."""
    plain = Stepper.__call__

    def with_signal(self: Any, number: int, lr: float, *, interrupted: bool = False) -> Any:
        if number == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", with_signal)
        with pytest.raises(Interrupted):
            bw.train(made, out, texts=TEXTS)
    bw.train(made, out, texts=TEXTS, resume=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"average": {"ema": 0.7}},
        {"average": {"ema": 0.7}, "eval": {"metric": "sts:PAIRS", "every": 2}},
        {"average": {"checkpoints": 3, "every": 2}, "save_every": 5},
        {
            "optim": {
                "lr": 1e-2, "steps": 6, "schedule": "wsd", "decay_ratio": 0.5, "min_lr_ratio": 0.1, "layer_decay": 0.5, "pooling_lr": 1e-3
            }
        },
    ],
    ids=["ema", "ema and best", "checkpoints", "rates"],
)  # fmt: skip
def test_resuming_equals_the_uninterrupted_run(tmp_path: Path, monkeypatch, changes) -> None:
    if "eval" in changes:
        pairs = tmp_path / "dev.tsv"
        rows = [f"{TEXTS[n]}\t{TEXTS[n + 1]}\t{n % 5}" for n in range(12)]
        pairs.write_text("sentence1\tsentence2\tscore\n" + "\n".join(rows) + "\n")
        changes = {**changes, "eval": {**changes["eval"], "metric": f"sts:{pairs}"}}
    made = recipe(tmp_path, simcse(**changes))
    bw.train(made, tmp_path / "whole", texts=TEXTS)
    stopped_and_resumed(made, tmp_path / "out", 2, monkeypatch)
    assert metrics(tmp_path / "out") == metrics(tmp_path / "whole")
    one, other = (weights(tmp_path / name) for name in ("whole", "out"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    if "average" in changes:
        bw.train(recipe(tmp_path, simcse()), tmp_path / "plain", texts=TEXTS)
        plain = weights(tmp_path / "plain")
        assert not all(torch.equal(one[name], plain[name]) for name in one)


def test_a_stage_ends_with_the_average_of_its_best_step(tmp_path: Path, monkeypatch) -> None:
    """Not with the weights of that step, and not with the last average."""
    seen: dict[str, Any] = {}
    plain = StageRun.train

    def watched(self: StageRun, *, resume: bool) -> Any:
        found = plain(self, resume=resume)
        parameters = self.checkpointing.parameters
        seen.update({name: each.detach().clone() for name, each in parameters.items()}, best=found.best)
        return found

    monkeypatch.setattr(StageRun, "train", watched)
    values = iter([0.2, 0.9, 0.4])
    monkeypatch.setattr(DevMeasurement, "measure", lambda self, at: measured(self, at, next(values)))
    pairs = tmp_path / "dev.tsv"
    pairs.write_text("sentence1\tsentence2\tscore\n" + "".join(f"{TEXTS[n]}\t{TEXTS[n + 1]}\t{n % 5}\n" for n in range(12)))
    changes = {"average": {"ema": 0.7}, "eval": {"metric": f"sts:{pairs}", "every": 2}}
    bw.train(recipe(tmp_path, simcse(**changes)), tmp_path / "out", texts=TEXTS)
    assert seen.pop("best") == {"step": 4, "value": 0.9}
    folder = tmp_path / "out" / "checkpoints" / STAGE / "step-00000004"
    average, trained = (load_file(folder / name) for name in ("average.safetensors", "trainable.safetensors"))
    assert seen.keys() == average.keys()
    assert all(torch.equal(tensor, average[name]) for name, tensor in seen.items())
    assert not all(torch.equal(tensor, trained[name]) for name, tensor in seen.items())


def measured(measurement: DevMeasurement, at: Any, value: float) -> dict[str, Any]:
    """Evaluate with a metric whose value is known."""
    measurement.metric = lambda encoder: value
    return MEASURE(measurement, at)


MEASURE = DevMeasurement.measure


def test_the_mean_of_checkpoints_is_their_mean(tmp_path: Path, monkeypatch) -> None:
    from bothways.training.hooks.checkpointing import Checkpointing

    seen: dict[str, torch.Tensor] = {}
    plain = Checkpointing.finish

    def watched(self: Any, state: Any) -> None:
        plain(self, state)
        seen.update({name: each.detach().clone() for name, each in self.parameters.items()})

    monkeypatch.setattr(Checkpointing, "finish", watched)
    bw.train(recipe(tmp_path, simcse(average={"checkpoints": 3, "every": 2}, save_every=None)), tmp_path / "out", texts=TEXTS)
    folder = tmp_path / "out" / "checkpoints" / STAGE
    files = [load_file(folder / f"step-{step:08d}" / "trainable.safetensors") for step in (2, 4, 6)]
    assert seen.keys() == files[0].keys()
    for name, tensor in seen.items():
        mean = sum(file[name].double() for file in files) / 3
        torch.testing.assert_close(tensor.double(), mean, atol=1e-8, rtol=1e-6)


def test_a_stage_without_patience_left_ends_early_and_stays_ended(tmp_path: Path) -> None:
    pairs = tmp_path / "dev.tsv"
    pairs.write_text("sentence1\tsentence2\tscore\n" + "".join(f"{TEXTS[n]}\t{TEXTS[n]}\t{n % 2}\n" for n in range(6)))
    config = {"metric": f"sts:{pairs}", "every": 2, "patience": 2}  # equal texts: the value is 0 at every evaluation
    made = recipe(tmp_path, simcse(eval=config, optim={"lr": 1e-3, "steps": 20}))
    encoder = bw.train(made, tmp_path / "out", texts=TEXTS)
    stage = encoder.provenance["stages"][0]
    assert (stage["steps"], stage["best"]["step"]) == (6, 2)
    assert state(tmp_path / "out", STAGE, 6)["step"] == 6
    before = (tmp_path / "out" / "metrics.jsonl").read_text()
    (tmp_path / "out" / "model.safetensors").unlink()
    (tmp_path / "out" / "bothways.json").unlink()
    bw.train(made, tmp_path / "out", texts=TEXTS, resume=True)
    assert (tmp_path / "out" / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize(("step", "best", "over"), [(4, 4, False), (6, 4, False), (8, 4, True), (9, 4, False), (4, 0, True)])
def test_patience_counts_evaluations_since_the_best(step: int, best: int, over: bool) -> None:
    config = EvalConfig(metric="stdlib", every=2, patience=2)
    assert exhausted(config, step, {"step": best, "value": 0.5}) == over
    assert not exhausted(EvalConfig(metric="stdlib", every=2), step, {"step": best, "value": 0.5})
    assert not exhausted(config, step, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"average": {}}, "give either ema"),
        ({"average": {"ema": 0.9, "checkpoints": 2, "every": 3}}, "give either ema"),
        ({"average": {"checkpoints": 2}}, "every belongs to checkpoints"),
        (
            {"average": {"checkpoints": 2, "every": 3}, "eval": {"metric": "stdlib", "every": 2}},
            "averages the last checkpoints, but eval.restore_best",
        ),
        ({"eval": {"metric": "stdlib", "every": 2, "patience": 0}}, "patience"),
    ],
)
def test_averages_that_contradict_the_stage_are_refused(tmp_path: Path, changes, message) -> None:
    with pytest.raises(InputError, match=message):
        recipe(tmp_path, simcse(**changes))
