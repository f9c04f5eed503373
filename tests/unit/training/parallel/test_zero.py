"""DeepSpeed: two processes that hold half of the gradients and moments each train what one process
trains; other settings are refused.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import bothways as bw
from bothways.errors import InputError
from bothways.training.loop.optimizer_step import Diverged, Stepper
from bothways.training.loop.signals import Interrupted
from bothways.training.parallel.parallel_request import requested
from bothways.training.parallel.zero import Zero
from unit.training.material import TEXTS, metrics, mntp, recipe
from unit.training.parallel.pooled_stages import ONE as POOLED_ONE
from unit.training.parallel.pooled_stages import ROWS, UNEVEN, every_weight, labeled, latent, rounded, views
from unit.training.parallel.pooled_stages import TWO as POOLED_TWO
from unit.training.processes import ONE, TOLERANCE, TWO, full, plus, rows, same_runs, two_processes
from unit.training.stage.test_llara import DOCUMENTS

needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed: make deepspeed")
ASKED = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2", "WORLD_SIZE": "2"}
POOLED = (labeled, latent, every_weight, *([rounded] if find_spec("bitsandbytes") else []))


def split_runs(folder: Path) -> None:
    """What each of two processes does: stage 2 stopped and resumed, stage 1, and moments in main
    memory.
    """
    rank = int(os.environ["RANK"])
    plain, held = Stepper.__call__, []

    def signalled(self, number, lr, *, interrupted=False):
        done = plain(self, number, lr, interrupted=interrupted)
        moments = [each["exp_avg"].numel() for each in self.update.optimizer.state.values()]
        held.append(sum(moments) / sum(parameter.numel() for parameter in self.update.parameters))
        if number == 0 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return done

    Stepper.__call__ = signalled  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        bw.train(plus(folder / "plus", TWO), folder / "plus" / "two", texts=TEXTS)
    Stepper.__call__ = plain  # type: ignore[method-assign]
    # each process holds half of the moments
    assert held and held == pytest.approx([0.5] * len(held), abs=0.05)
    if rank == 0:
        shutil.copytree(folder / "plus" / "two", folder / "plus" / "without")
    torch.distributed.barrier()
    bw.train(plus(folder / "plus", TWO), folder / "plus" / "two", resume=True, texts=TEXTS)
    for make in POOLED:
        bw.train(make(folder / make.__name__, POOLED_TWO), folder / make.__name__ / "two", texts=ROWS)
    bw.train(views(folder / "views"), folder / "views" / "split", texts=UNEVEN)
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "false"
    bw.train(views(folder / "views"), folder / "views" / "whole", texts=UNEVEN)
    bw.train(plus(folder / "plus", TWO), folder / "plus" / "without", resume=True, texts=TEXTS)
    os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "1"}
    bw.train(rows(folder / "rows", TWO), folder / "rows" / "two", texts=DOCUMENTS)
    os.environ |= {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2", "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu"}
    bw.train(full(folder / "full", TWO), folder / "full" / "two", texts=TEXTS)
    with pytest.raises(Diverged, match=r"lower optim\.lr"):
        bw.train(recipe(folder / "diverged", mntp(optim={"lr": 1e30, "steps": 4})), folder / "diverged" / "out", texts=TEXTS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("zero")
    (folder / "held.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    for make in (plus, full, rows, *POOLED):
        make(folder / make.__name__, TWO)
    views(folder / "views")
    recipe(folder / "diverged", mntp())
    # on a busy machine DeepSpeed compiles for minutes when it is first used
    two_processes(folder, "unit.training.parallel.test_zero.split_runs", ASKED)
    return folder


@needs_deepspeed
@pytest.mark.parametrize("make", [plus, full, rows], ids=["stage 2, resumed", "stage 2, offloaded", "stage 1"])
def test_two_processes_with_deepspeed_train_what_one_trains(runs: Path, make) -> None:
    """LoRA+, stopped and resumed; every weight, clipped; LoRA with rows of new tokens."""
    folder = runs / make.__name__
    bw.train(make(folder, ONE), folder / "one", texts=DOCUMENTS if make is rows else TEXTS)
    same_runs(folder / "two", folder / "one")
    if make is plus:
        # stopped with DeepSpeed, continued without
        same_runs(folder / "without", folder / "one")
    losses = [line["loss"] for line in metrics(folder / "two") if "loss" in line]
    # or the comparison would say nothing
    assert losses[0] - losses[-1] > 0.01


@needs_deepspeed
@pytest.mark.parametrize("make", POOLED, ids=lambda make: make.__name__)
def test_stages_that_learn_from_vectors_train_what_one_process_trains(runs: Path, make) -> None:
    """Several passes a step, of which the last one alone ends the exchange: hard negatives that are
    mined again, NV-Embed's pooling, and every weight without in-batch negatives.
    """
    folder = runs / make.__name__
    bw.train(make(folder, POOLED_ONE), folder / "one", texts=ROWS)
    # the dictionary's first gradients are next to nothing
    same_runs(folder / "two", folder / "one", 1e-3 if make is latent else TOLERANCE)
    losses = [line["loss"] for line in metrics(folder / "two") if "loss" in line]
    assert losses[0] - losses[-1] > 0.01


@needs_deepspeed
def test_two_views_with_deepspeed_are_those_of_whole_models(runs: Path) -> None:
    """SimCSE, whose dropout depends on the process: both runs have two of them."""
    same_runs(runs / "views" / "split", runs / "views" / "whole")


# --- settings
# ------------------------------------------------------------------------------------------------------------------


def asked(tmp_path: Path, monkeypatch, config: dict[str, Any] | None = None, **settings: str) -> Zero:
    """What is read of a launcher's settings, where DeepSpeed is installed."""
    monkeypatch.setattr("bothways.training.parallel.zero.find_spec", lambda name: object())
    if config is not None:
        (tmp_path / "ds.json").write_text(json.dumps(config))
        settings["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = str(tmp_path / "ds.json")
    for name, value in {**ASKED, **settings}.items():
        monkeypatch.setenv(name, value)
    launch = requested()
    assert launch.sharding is None and launch.zero is not None
    return launch.zero


def test_a_file_is_read_for_what_deepspeed_decides(tmp_path: Path, monkeypatch) -> None:
    """As files for the Trainer are: what a recipe has is auto there."""
    auto = dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"), "auto")
    zero = {
        "stage": 2,
        "overlap_comm": True,
        "reduce_bucket_size": "auto",
        "offload_optimizer": {"device": "cpu", "pin_memory": True},
    }
    optimizer = {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}}
    config = {**auto, "gradient_clipping": "auto", "bf16": {"enabled": "auto"}, "fp16": {"enabled": False, "loss_scale": 0}}
    found = asked(
        tmp_path, monkeypatch, {**config, "optimizer": optimizer, "zero_optimization": zero, "wall_clock_breakdown": False}
    )
    del zero["reduce_bucket_size"]
    assert found.config["zero_optimization"] == zero
    assert not {"optimizer", "bf16", "fp16", "gradient_clipping", "train_batch_size"} & found.config.keys()


def test_flags_of_the_launcher_are_read(tmp_path: Path, monkeypatch) -> None:
    flags = {"ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1"}
    found = asked(tmp_path, monkeypatch, **flags).config["zero_optimization"]
    assert found["stage"] == 2 and found["offload_optimizer"]["device"] == "cpu" and "offload_param" not in found
    none = {"ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "none"}
    assert "offload_optimizer" not in asked(tmp_path, monkeypatch, **none).config["zero_optimization"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"zero_optimization": {"stage": 3}}, "ZeRO stage 3 is not supported; use stage 1 or 2, .* use FSDP2"),
        ({"zero_optimization": {"stage": 0}}, "ZeRO stage 0 splits nothing"),
        ({"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}}, "offload_param needs stage 3"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "nvme"}}}, "offload_optimizer to 'nvme' is not"),
        ({"gradient_clipping": 0.5}, r"the recipe decides DeepSpeed's gradient_clipping \(optim\.clip_norm\)"),
        ({"gradient_clipping": 1}, r"the recipe decides DeepSpeed's gradient_clipping"),
        ({"gradient_accumulation_steps": 8}, r"the recipe decides DeepSpeed's gradient_accumulation_steps"),
        ({"bf16": {"enabled": True}}, "the recipe decides DeepSpeed's bf16"),
        ({"optimizer": {"type": "Lamb", "params": {"lr": "auto"}}}, "the recipe decides DeepSpeed's optimizer"),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}, "the recipe decides DeepSpeed's optimizer"),
        ({"scheduler": {"type": "WarmupLR"}}, "the recipe decides DeepSpeed's scheduler"),
        ({"prescale_gradients": True}, "prescale_gradients is not supported; leave it out"),
    ],
)
def test_settings_that_would_change_the_training_are_refused(tmp_path: Path, config, message: str, monkeypatch) -> None:
    with pytest.raises(InputError, match=f"^accelerate: .*{message}") as caught:
        asked(tmp_path, monkeypatch, {"zero_optimization": {"stage": 2}, **config})
    assert "\n" not in str(caught.value)


def test_what_cannot_run_is_refused_in_one_line(tmp_path: Path, monkeypatch) -> None:
    for name, value in ASKED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("bothways.training.parallel.zero.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"^accelerate: DeepSpeed is requested but not installed; pip install 'bothways\[deepspeed\]'"
    ):
        bw.train(recipe(tmp_path, mntp()), tmp_path / "out", texts=TEXTS)
    monkeypatch.setattr("bothways.training.parallel.zero.find_spec", lambda name: object())
    with pytest.raises(InputError, match="a dry run measures whole models"):
        bw.train(recipe(tmp_path, mntp()), dry_run=True, texts=TEXTS)
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(InputError, match="a single process cannot share a model"):
        bw.train(recipe(tmp_path, mntp()), tmp_path / "out", texts=TEXTS)
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(tmp_path / "missing.json"))
    with pytest.raises(InputError, match=r"^accelerate: DeepSpeed's settings: "):
        bw.train(recipe(tmp_path, mntp()), tmp_path / "out", texts=TEXTS)
    assert not (tmp_path / "out").exists()
