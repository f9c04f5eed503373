"""The end of a stage: its best step, or a collapse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import bothways as bw
from bothways.errors import InputError
from bothways.evaluation import devmetric
from bothways.training.loop.optimizer_step import Diverged
from tiny import tiny_llama
from unit.training.material import TEXTS, metrics, mntp, recipe, weights
from unit.training.recipe.test_bad_values import SIMCSE, made, stage


class Scripted:
    """A dev metric that returns given values and remembers the encoder's parameters."""

    name = "scripted"

    def __init__(self, values: list[float]) -> None:
        self.values, self.seen = list(values), []

    def __call__(self, encoder) -> float:
        self.seen.append({n: p.detach().clone() for n, p in encoder.named_parameters() if "lora_" in n})
        return self.values[len(self.seen) - 1]


def test_the_best_checkpoint_ends_the_stage_and_survives_pruning(tmp_path: Path, monkeypatch) -> None:
    metric = Scripted([0.1, 0.9, 0.3, 0.2])
    monkeypatch.setattr(devmetric, "dev_metric", lambda spec, **_: metric)
    made = recipe(tmp_path, mntp(eval={"metric": "scripted", "every": 2}, save_every=1), keep_checkpoints=1)
    encoder = bw.train(made, tmp_path / "out", texts=TEXTS)
    assert encoder.provenance["stages"][0]["best"] == {"step": 4, "value": 0.9}
    kept = sorted(entry.name for entry in (tmp_path / "out" / "checkpoints" / "1-mntp").iterdir())
    assert kept == ["step-00000004", "step-00000008"]
    # the saved weights are base + (alpha / r) B A of step 4, computed here in float64
    base, best = weights(tmp_path / "base"), metric.seen[1]
    name = "layers.0.mlp.down_proj"
    a, b = (best[f"backbone.{name}.lora_{part}.default.weight"].double() for part in "AB")
    expected = base[f"model.{name}.weight"].double() + 2 * b @ a
    torch.testing.assert_close(weights(tmp_path / "out")[f"{name}.weight"].double(), expected, atol=1e-6, rtol=1e-6)
    dev = [line["dev"] for line in metrics(tmp_path / "out") if "dev" in line]
    assert dev == [0.1, 0.9, 0.3, 0.2]


def test_collapse_stops_the_stage_when_asked(tmp_path: Path, monkeypatch) -> None:
    from bothways.training.stage.collapse import Collapse, CollapseWatch

    readings = iter([{"mean_cosine": 0.1, "effective_rank": 30.0}, {"mean_cosine": 0.999, "effective_rank": 2.0}])
    monkeypatch.setattr(CollapseWatch, "read", lambda self, encoder: next(readings))
    with pytest.raises(Collapse, match="collapse in stage mntp at step 3"):
        bw.train(recipe(tmp_path, mntp(on_collapse="stop")), tmp_path / "out", texts=TEXTS)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(tiny_llama(tmp_path_factory.mktemp("base")))


@pytest.mark.parametrize(("which", "remedy"), [(1, "bothways doctor"), (2, r"lower optim\.lr")])
def test_vectors_that_are_not_numbers_name_stage_step_and_remedy(
    which: int, remedy: str, base: str, tmp_path: Path, monkeypatch
) -> None:
    from bothways.training.stage.collapse import CollapseWatch

    read, calls = CollapseWatch.read, []

    def broken(watch: CollapseWatch, encoder: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == which:
            raise InputError("vector 0 of 64 holds NaN or infinity")
        return read(watch, encoder)

    monkeypatch.setattr(CollapseWatch, "read", broken)
    with pytest.raises(Diverged, match=rf"stage s, step {0 if which == 1 else 2}: .*vector 0 of 64.*{remedy}"):
        bw.train(made(base, stage("s", SIMCSE)), tmp_path / "out", texts=TEXTS)
    assert (tmp_path / "out").exists() == (which == 2)  # with the log of what was trained


def test_an_odd_scale_is_said(base: str, tmp_path: Path, caplog) -> None:
    for number, scale in enumerate((1e9, 1e-9, 20.0)):
        caplog.clear()
        bw.train(made(base, stage("s", {**SIMCSE, "scale": scale})), tmp_path / str(number), texts=TEXTS)
        assert ("is far from the usual" in caplog.text) == (scale != 20.0)
