"""A launcher that is to split the model over processes is refused; nothing is trained without what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError
from unit.training.material import TEXTS, recipe


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("ACCELERATE_USE_FSDP", "FSDP"),
        ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "a parallelism config"),
    ],
)
def test_sharding_is_refused_in_one_line_and_not_dropped(tmp_path: Path, variable: str, name: str, monkeypatch) -> None:
    """What the launcher sets is asked: Accelerate itself leaves FSDP out on CPUs without a word."""
    monkeypatch.setenv(variable, "true")
    for options in ({}, {"dry_run": True}):
        with pytest.raises(InputError, match=rf"accelerate: {name} \({variable}\) shards the model") as caught:
            bw.train(recipe(tmp_path), tmp_path / "out", texts=TEXTS, **options)
        assert "\n" not in str(caught.value) and "trackers" not in str(caught.value)
    assert not (tmp_path / "out").exists()
