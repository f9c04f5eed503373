"""What may be used again: only what training now would give. Anything else is refused in one line,
before anything is trained.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import bothways as bw
from bothways.ablation import reuse
from bothways.ablation.grid import Cell
from bothways.ablation.measure import Bench
from bothways.errors import InputError
from bothways.provenance import versions
from bothways.training.loop.optimizer_step import Stepper
from tiny import tiny_llama
from unit.ablation.material import POOLINGS, World, count_trainings, plan, scores, snapshot


def change(world: World, **simcse: Any) -> dict[str, Any]:
    return {"recipe": world.write_recipe("changed.yaml", world.stage("mntp"), world.stage("simcse", **simcse))}


def test_a_changed_recipe_is_refused_before_anything_is_trained(world: World, copy: Path, monkeypatch) -> None:
    trained, before = count_trainings(monkeypatch), snapshot(copy)
    other = change(world, optim={"lr": 2e-3, "steps": 6})
    with pytest.raises(
        InputError, match=r"mntp-simcse-seed0: cannot be reused: its recipe .*optim\.lr \(0\.001 → 0\.002\).*--retrain"
    ) as error:
        bw.ablate(plan(world, **other), copy)
    assert "\n" not in str(error.value)
    assert (trained, snapshot(copy)) == ([], before)
    forecast = bw.ablate(plan(world, **other), copy, dry_run=True)
    assert [each.action for each in forecast.trainings] == ["reuse", "refuse", "refuse"]
    # what is only shown or kept may change
    bw.ablate(plan(world, **change(world, log_every=1)), copy)
    assert trained == []


def test_retrain_replaces_what_differs_and_its_results(world: World, copy: Path, monkeypatch) -> None:
    before, trained = scores(copy), count_trainings(monkeypatch)
    bw.ablate(plan(world, **change(world, optim={"lr": 2e-2, "steps": 6})), copy, retrain=True)
    assert trained == [f"bidirectional-{pooling}-mntp-simcse-seed0" for pooling in POOLINGS]
    after = scores(copy)
    assert {name for name in before if before[name] != after[name]} == {
        f"bi+mntp+simcse-{pooling}-seed0-float32.json" for pooling in POOLINGS
    }


def test_a_kill_between_training_anew_and_measuring_leaves_no_old_scores(world: World, copy: Path, monkeypatch) -> None:
    other, before = change(world, optim={"lr": 2e-2, "steps": 6}), scores(copy)
    plain = Bench.measure

    def dying(self: Bench, cell: Cell) -> Any:
        if cell.trained is not None:
            raise KeyboardInterrupt
        return plain(self, cell)

    with monkeypatch.context() as patch:
        patch.setattr(Bench, "measure", dying)
        with pytest.raises(KeyboardInterrupt):
            bw.ablate(plan(world, poolings=["mean"], **other), copy, retrain=True)
    name = "bi+mntp+simcse-mean-seed0-float32.json"
    assert name not in scores(copy)
    bw.ablate(plan(world, poolings=["mean"], **other), copy)
    assert scores(copy)[name] != before[name]


def test_a_changed_first_stage_takes_the_later_ones_with_it(world: World, copy: Path, monkeypatch) -> None:
    trained = count_trainings(monkeypatch)
    other = {"overrides": {"stages.mntp.optim.lr": 2e-2}}
    with pytest.raises(InputError, match=r"mntp-seed0: cannot be reused: its recipe"):
        bw.ablate(plan(world, **other), copy)
    refused = bw.ablate(world.plan("bi+mntp+simcse", **other), copy, dry_run=True).trainings
    assert [each.action for each in refused] == ["refuse", "refuse"]
    assert refused[1].why.startswith("it starts from bidirectional-mean-mntp-seed0, which differs: its recipe was different")
    bw.ablate(plan(world, **other), copy, retrain=True)
    assert trained == ["bidirectional-mean-mntp-seed0", *(f"bidirectional-{p}-mntp-simcse-seed0" for p in POOLINGS)]


def test_changed_data_is_refused(tmp_path: Path, monkeypatch) -> None:
    world = World(tmp_path)
    bw.ablate(world.plan("bi+mntp+simcse"), tmp_path / "out")
    world.texts.write_text(world.texts.read_text() + "\nOne more line.", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be reused: the data of mntp has changed: files of .*texts\.txt"):
        bw.ablate(world.plan("bi+mntp+simcse"), tmp_path / "out")


def test_data_that_changed_in_the_middle_of_a_stage(tmp_path: Path, monkeypatch) -> None:
    world, plain = World(tmp_path), Stepper.__call__

    def dying(self: Any, number: int, lr: float, *, interrupted: bool = False) -> Any:
        if number == 4:
            raise KeyboardInterrupt
        return plain(self, number, lr, interrupted=interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", dying)
        with pytest.raises(KeyboardInterrupt):
            bw.ablate(world.plan("bi+mntp"), tmp_path / "out")
    world.texts.write_text(world.texts.read_text() + "\nOne more line.", encoding="utf-8")
    with pytest.raises(InputError, match="the data of mntp has changed since it was begun"):
        bw.ablate(world.plan("bi+mntp"), tmp_path / "out")
    bw.ablate(world.plan("bi+mntp"), tmp_path / "out", retrain=True)


def test_other_libraries_are_refused(world: World, copy: Path, monkeypatch) -> None:
    monkeypatch.setattr(reuse, "versions", lambda: {**versions(), "torch": "9.9"})
    with pytest.raises(InputError, match=r"cannot be reused: it was trained under torch .* → 9\.9"):
        bw.ablate(plan(world), copy)
    monkeypatch.setattr(reuse, "versions", lambda: {**versions(), "scipy": "9.9"})
    bw.ablate(plan(world), copy)  # does not train


def test_a_start_that_is_gone_is_not_needed_again(world: World, copy: Path, monkeypatch) -> None:
    """The fingerprint of its recipe, which the encoder carries, still tells what it was."""
    trained = count_trainings(monkeypatch)
    shutil.rmtree(copy / "bidirectional-mean-mntp-seed0")
    bw.ablate(world.plan("bi+mntp+simcse", tasks=world.tasks), copy)
    assert trained == []
    with pytest.raises(InputError, match=r"it was trained from another bidirectional-mean-mntp-seed0"):
        bw.ablate(world.plan("bi+mntp+simcse", overrides={"stages.mntp.optim.lr": 2e-2}), copy)
    bw.ablate(plan(world), copy)  # the row bi+mntp needs it, and trained anew it is the same: what starts from it stays
    assert trained == ["bidirectional-mean-mntp-seed0"]
    bw.ablate(plan(world), copy)
    assert len(trained) == 1


def test_an_encoder_trained_from_another_start_is_refused(world: World, copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    bw.ablate(world.plan("bi+mntp", overrides={"stages.mntp.optim.lr": 2e-2}), other)
    folder = copy / "bidirectional-mean-mntp-seed0"
    shutil.rmtree(folder)
    shutil.copytree(other / folder.name, folder)
    recipe = folder / "recipe.yaml"  # the recipe is put right, so that only the encoder's own record tells
    values = yaml.safe_load(recipe.read_text())
    values["stages"][0]["optim"]["lr"] = 1e-3
    recipe.write_text(yaml.safe_dump(values))
    with pytest.raises(
        InputError, match="mntp-simcse-seed0: cannot be reused: it was trained from another bidirectional-mean-mntp-seed0"
    ):
        bw.ablate(plan(world), copy)


def test_results_of_another_encoder_or_other_data_are_refused_or_measured_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    out, only = tmp_path / "out", world.plan("bi")
    first = bw.ablate(only, out).lines[0].scores
    shutil.rmtree(world.base)
    tiny_llama(world.base, seed=5)
    with pytest.raises(InputError, match=r"holds scores of another model.*--retrain"):
        bw.ablate(only, out)
    second = bw.ablate(only, out, retrain=True).lines[0].scores
    assert second != first
    pairs = tmp_path / "one.jsonl"
    pairs.write_text("\n".join(pairs.read_text().splitlines()[:-3]))
    with pytest.raises(InputError, match="was measured on other data"):
        bw.ablate(only, out)
    assert bw.ablate(only, out, retrain=True).lines[0].scores != second
