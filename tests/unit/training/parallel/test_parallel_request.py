"""Requests of the launcher that are refused, each in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.training.parallel.parallel_request import ParallelRequest, requested
from bothways.training.parallel.sharding import Sharding
from unit.training.material import TEXTS, mntp, recipe
from unit.training.parallel.test_sharding import ASKED


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**ASKED, "ACCELERATE_USE_DEEPSPEED": "true"}, "ACCELERATE_USE_FSDP and ACCELERATE_USE_DEEPSPEED are both set"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, r"Megatron-LM \(ACCELERATE_USE_MEGATRON_LM\) is not supported"),
        ({"ACCELERATE_USE_PARALLELISM_CONFIG": "true"}, r"a parallelism config .* is not supported"),
        ({**ASKED, "FSDP_VERSION": "1"}, r"FSDP version 1 .* version 2 is: accelerate launch --use_fsdp --fsdp_version 2"),
        ({**ASKED, "FSDP_OFFLOAD_PARAMS": "true"}, "FSDP_OFFLOAD_PARAMS is not supported"),
        ({**ASKED, "FSDP_ACTIVATION_CHECKPOINTING": "true"}, "gradient_checkpointing instead"),
        ({**ASKED, "FSDP_IGNORED_MODULES": "x"}, "FSDP_IGNORED_MODULES is not supported"),
        ({**ASKED, "FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}, "the unit is the decoder block"),
        ({**ASKED, "FSDP_RESHARD_AFTER_FORWARD": "FULL_SHARD"}, "'FULL_SHARD'; set it to true or false"),
        ({**ASKED, "WORLD_SIZE": "1"}, "a single process cannot share a model"),
    ],
)
def test_what_is_not_supported_is_refused_in_one_line_and_not_dropped(
    tmp_path: Path, settings: dict[str, str], message: str, monkeypatch
) -> None:
    """What the launcher sets is asked: Accelerate itself leaves FSDP out on CPUs without a word."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"^accelerate: .*{message}") as caught:
        bw.train(recipe(tmp_path, mntp()), tmp_path / "out", texts=TEXTS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_dry_runs_are_refused(tmp_path: Path, monkeypatch) -> None:
    for name, value in ASKED.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="a dry run measures whole models"):
        bw.train(recipe(tmp_path, mntp()), dry_run=True, texts=TEXTS)
    assert not (tmp_path / "out").exists()
    # without a word from the launcher, PyTorch's own default
    monkeypatch.delenv("FSDP_RESHARD_AFTER_FORWARD", raising=False)
    assert requested() == ParallelRequest(sharding=Sharding(reshard_after_forward=True))
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "false")
    asked = requested()
    assert asked == ParallelRequest(sharding=Sharding(reshard_after_forward=False))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    assert requested() == ParallelRequest()
