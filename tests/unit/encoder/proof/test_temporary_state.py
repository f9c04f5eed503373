"""States that the doctor sets for a check, and what is there afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.encoder.proof.temporary_state import checkpointing, untouched
from tiny import tiny_llama


@pytest.fixture
def encoder(tmp_path: Path) -> bw.Encoder:
    return bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu")


def test_modes_and_flags_are_put_back_after_an_error(encoder: bw.Encoder) -> None:
    encoder.backbone.layers[0].requires_grad_(False)  # type: ignore[index, union-attr]
    before = [(each.requires_grad, name) for name, each in encoder.named_parameters()]
    with pytest.raises(RuntimeError), untouched(encoder):
        encoder.train()
        for parameter in encoder.parameters():
            parameter.requires_grad_(not parameter.requires_grad)
        raise RuntimeError
    assert [(each.requires_grad, name) for name, each in encoder.named_parameters()] == before
    assert not any(module.training for module in encoder.modules())


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("active", [False, True])
def test_checkpointing_is_switched_and_put_back(encoder: bw.Encoder, before: bool, active: bool) -> None:
    model = encoder.backbone
    if before:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def switches() -> list[bool]:
        return [each.gradient_checkpointing for each in model.modules() if hasattr(each, "gradient_checkpointing")]

    own = switches()
    assert set(own) == {before} or before
    with checkpointing(model, active):
        assert any(switches()) == active
    assert switches() == own
