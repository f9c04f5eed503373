"""Latent attention and self-attention against a loop over tokens and heads in float64; packing,
chunks, types, counts.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bothways.errors import InputError
from bothways.pooling import LatentAttention, PoolingConfig, attention_pooling
from unit.pooling.attention_reference import LENGTHS, ROWS, WIDTH, material, pool, weights

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


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("filler", [0, 7])
def test_equals_the_loop(kind: str, filler: int) -> None:
    for seed in range(3):
        module, (states, mask, segments) = make(kind, seed), material(seed, filler)
        expected = pool(kind, weights(module.layer), states, mask, segments, module.layer.heads)
        found = module(states.float(), mask, segments, ROWS)
        assert found.dtype == torch.float32
        # float32 against float64 over some hundred products of size 1
        torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)
        exact = module.double()(states, mask, segments, ROWS)
        torch.testing.assert_close(exact, expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("kind", SIZES)
def test_gradients_equal_the_loops(kind: str) -> None:
    module, (states, mask, segments) = make(kind).double(), material(filler=0)
    target = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mine = states.clone().requires_grad_()
    (module(mine, mask, segments, ROWS) * target).sum().backward()
    own = {name: value.clone().requires_grad_() for name, value in weights(module.layer).items()}
    theirs = states.clone().requires_grad_()
    (pool(kind, own, theirs, mask, segments, module.layer.heads) * target).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-10, rtol=1e-9)
    for name, parameter in module.layer.named_parameters():
        assert parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(parameter.grad, own[name].grad, atol=1e-9, rtol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    if kind != "self":
        assert not mine.grad[~mask].any()  # an unpooled token is not even looked at


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_a_text_alone_gets_the_same_vector(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    """Equal up to the order of sums: some ulps of the largest number."""
    module, (states, mask, segments) = make(kind).to(dtype), material()
    states = states.to(dtype)
    packed = module(states, mask, segments, ROWS)
    tolerance *= float(packed.detach().abs().max())
    for text in range(ROWS):
        own = segments == text
        alone = module(states[own], mask[own], torch.zeros(int(own.sum()), dtype=torch.int64), 1)
        torch.testing.assert_close(alone[0], packed[text], atol=tolerance, rtol=0)
    order = [3, 0, 4, 1, 2]
    places = torch.cat([(segments == text).nonzero()[:, 0] for text in order])
    moved = torch.repeat_interleave(torch.arange(ROWS), torch.tensor([LENGTHS[text] for text in order]))
    torch.testing.assert_close(module(states[places], mask[places], moved, ROWS), packed[order], atol=tolerance, rtol=0)


@pytest.mark.parametrize("kind", SIZES)
def test_half_precision_states_are_computed_in_float32(kind: str) -> None:
    module, (states, mask, segments) = make(kind), material(filler=0)
    rounded = states.bfloat16()
    found = module(rounded, mask, segments, ROWS)
    assert found.dtype == torch.float32
    # nothing is rounded but what came in
    torch.testing.assert_close(found, module(rounded.float(), mask, segments, ROWS), atol=0, rtol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(found, module(rounded, mask, segments, ROWS), atol=0, rtol=0)
    exact = module(states.float(), mask, segments, ROWS)
    assert torch.cosine_similarity(found, exact).min() > 0.9999  # bfloat16 keeps 8 bits: 1 - cos is about 2⁻¹⁷ per rounding


@pytest.mark.parametrize("kind", SIZES)
def test_chunks_change_nothing(kind: str, monkeypatch) -> None:
    module, (states, mask, segments) = make(kind).double(), material()
    states = states.nan_to_num()
    results = []
    for chunk in (10_000, 3):
        monkeypatch.setattr(attention_pooling, "CHUNK", chunk)
        module.zero_grad()
        leaf = states.clone().requires_grad_()
        out = module(leaf, mask, segments, ROWS)
        out.square().sum().backward()
        with torch.no_grad():
            still = module(states, mask, segments, ROWS)
        results.append([out.detach(), still, leaf.grad, *(p.grad.clone() for p in module.parameters())])
    for whole, chunked in zip(*results):
        torch.testing.assert_close(chunked, whole, atol=1e-10, rtol=1e-10)


class Largest(TorchDispatchMode):
    """The most numbers in any tensor that is made inside."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return out


@pytest.mark.parametrize("grad", [False, True])
def test_memory_of_a_long_text_is_bounded(monkeypatch, grad: bool) -> None:
    """Queries and scores of 4,000 tokens at once would be 4,000 x 60 numbers and more; chunks hold
    100 x 96 of the MLP.
    """
    monkeypatch.setattr(attention_pooling, "CHUNK", 100)
    module = LatentAttention(WIDTH, latents=64, heads=5, head_width=WIDTH)
    states = torch.randn(4000, WIDTH, requires_grad=grad)
    with torch.set_grad_enabled(grad), Largest() as seen:
        out = module(states, torch.ones(4000, dtype=torch.bool), torch.zeros(4000, dtype=torch.int64), 1)
        if grad:
            out.sum().backward()
    assert 4000 * WIDTH <= seen.numbers <= 4000 * WIDTH  # the states themselves


@pytest.mark.parametrize("kind", SIZES)
def test_a_text_without_a_pooled_token_is_an_error(kind: str) -> None:
    states, mask, segments = material()
    with pytest.raises(InputError, match="text 3 of the pass has no token to pool"):
        make(kind)(states.float(), mask & (segments != 3), segments, ROWS)
