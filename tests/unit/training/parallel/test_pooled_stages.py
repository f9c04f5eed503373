"""Contrastive and supervised stages on two processes train what one trains, whole or split."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch.distributed as dist

import bothways as bw
from bothways.objectives import gradcache
from unit.training.material import metrics
from unit.training.parallel.pooled_stages import ONE, ROWS, TWO, UNEVEN, every_weight, labeled, latent, views
from unit.training.parallel.test_sharding import ASKED
from unit.training.processes import TOLERANCE, same_runs, two_processes

MADE = (labeled, latent, every_weight)


def both_runs(folder: Path) -> None:
    """What each of two processes does: whole models, then split ones."""
    added, plain = [], gradcache._small

    def counted(batch):
        added.append(1)
        return plain(batch)

    gradcache._small = counted  # type: ignore[assignment]
    for name, asked in (("whole", "false"), ("split", "true")):
        os.environ["ACCELERATE_USE_FSDP"] = asked
        for make in MADE:
            bw.train(make(folder / make.__name__, TWO), folder / make.__name__ / name, texts=ROWS)
        bw.train(views(folder / "views"), folder / "views" / name, texts=UNEVEN)
        os.environ["FSDP_RESHARD_AFTER_FORWARD"] = "false"
    # the comparison says something only if the numbers of passes differ
    both: list[int] = [0, 0]
    dist.all_gather_object(both, len(added))
    assert max(both) > 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pooled")
    for make in MADE:
        make(folder / make.__name__, TWO)
    views(folder / "views")
    two_processes(folder, "unit.training.parallel.test_pooled_stages.both_runs", ASKED)
    return folder


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_two_processes_train_what_one_trains(runs: Path, make) -> None:
    folder = runs / make.__name__
    bw.train(make(folder, ONE), folder / "one", texts=ROWS)
    for name in ("whole", "split"):
        # the dictionary's first gradients are next to nothing
        same_runs(folder / name, folder / "one", 1e-3 if make is latent else TOLERANCE)
    lines = metrics(folder / "one")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[0] - losses[-1] > 0.01
    if make is labeled:
        assert [line["step"] for line in lines if "heldout_loss" in line] == [2, 4]
        assert [line["step"] for line in lines if "refreshed" in line] == [2]


def test_dropout_of_a_split_model_is_that_of_a_whole_one(runs: Path) -> None:
    same_runs(runs / "views" / "split", runs / "views" / "whole")
