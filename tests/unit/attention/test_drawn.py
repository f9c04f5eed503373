"""The reach of a model's masks, measured by its own mask functions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel, MistralConfig, MistralModel

from bothways.attention.direction import set_direction
from bothways.attention.drawn import Reach, drawn

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 32,
}


def seen(model: nn.Module, place: int, length: int = 15) -> Reach:
    """How far the state of one layer's token depends on others: a change of each token in turn."""
    ids = torch.arange(length)[None] + 5
    with torch.no_grad():
        before = model(input_ids=ids, use_cache=False).last_hidden_state[0, place]
        moved = []
        for other in range(length):
            changed = ids.clone()
            changed[0, other] = 2
            moved.append(not torch.allclose(model(input_ids=changed, use_cache=False).last_hidden_state[0, place], before))
    first, last = moved.index(True), length - 1 - moved[::-1].index(True)
    return Reach(place - first, last - place)


def test_without_a_window_only_the_direction_counts() -> None:
    model = LlamaModel(LlamaConfig(**SIZES)).eval()
    assert drawn(model) == (Reach(None, 0),)
    set_direction(model, "bidirectional")
    assert drawn(model) == (Reach(None, None),)


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
def test_a_window_reaches_as_far_as_a_change_of_a_token(direction: str) -> None:
    torch.manual_seed(0)
    # of one layer, because a second layer sees what its neighbors saw
    model = MistralModel(MistralConfig(**{**SIZES, "num_hidden_layers": 1}, sliding_window=3, initializer_range=0.5)).eval()
    set_direction(model, direction, windows="keep")  # type: ignore[arg-type]
    before = model.config._attn_implementation
    assert drawn(model) == (seen(model, 7),)
    assert model.config._attn_implementation == before


def test_a_model_that_draws_its_own_masks_has_none() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = LlamaConfig(**SIZES)
            self.weight = nn.Parameter(torch.zeros(1))

        def set_attn_implementation(self, name: str) -> None: ...

        def _can_set_attn_implementation(self) -> bool:
            return False

    assert drawn(Own()) is None
