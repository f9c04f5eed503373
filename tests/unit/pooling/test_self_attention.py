"""Self-attention sees the instruction of its text, and no other text."""

from __future__ import annotations

from typing import Any

import torch

from bothways.pooling import PoolingConfig
from unit.pooling.attention_reference import ROWS, WIDTH, material

SIZES: dict[str, dict[str, Any]] = {
    "code": {"mode": "latent_attention", "latents": 7, "heads": 2, "head_width": 5},
    "paper": {"mode": "latent_attention", "latents": 7, "heads": 3, "form": "paper"},
    "self": {"mode": "self_attention", "heads": 2, "head_width": 5},
}


def make(kind: str, seed: int = 0, **changes: Any) -> Any:
    """A pooling whose norms and biases are not at their neutral start, so that leaving one out
    shows.
    """
    module = PoolingConfig.of({**SIZES[kind], **changes}).build(WIDTH, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def test_what_is_seen_and_not_pooled() -> None:
    """Under self-attention a text's instruction changes its vector, a neighbour never; under latent
    attention neither does.
    """
    states, mask, segments = material()
    states = states.float()
    for text, kind, changes in ((2, "self", True), (2, "code", False), (2, "paper", False)):
        module = make(kind)
        before = module(states, mask, segments, ROWS)
        place = int((segments == text).nonzero()[0])
        assert not mask[place]
        other = states.clone()
        other[place] *= -1  # not a shift, which the norm takes out
        moved = (module(other, mask, segments, ROWS) - before).abs().amax(1)
        assert (moved[text] > 1e-3) == changes
        assert moved[torch.arange(ROWS) != text].max() == 0
