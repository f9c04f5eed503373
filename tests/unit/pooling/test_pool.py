"""Every pooling against a naive loop in float64, and against sentence-transformers' own."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from bothways.errors import InputError
from bothways.pooling import POOLINGS, Pooling, PoolingConfig
from bothways.pooling.pool import CONCATENATED, LAST_TOKENS, Concatenated, count_from_start

ROWS, WIDTH = 6, 5


def material(seed: int = 0, filler: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """States (T, H) float64, mask (T,), segments (T,): ragged texts, unpooled tokens at the front,
    in the middle, nowhere.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = [1, 4, 19, 2, 6, 3]
    segments = torch.repeat_interleave(torch.arange(ROWS + 1), torch.tensor([*lengths, filler]))
    mask = torch.rand(len(segments), generator=generator) < 0.6
    for text in range(ROWS):
        mask[int((segments == text).nonzero()[-1])] = True
    states = torch.randn(len(segments), WIDTH, generator=generator, dtype=torch.float64)
    states[segments == ROWS] = float("nan")  # filler must not even be multiplied by zero
    return states, mask, segments


def naive(mode: str, states: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
    vectors = []
    for text in range(ROWS):
        kept = [states[t] for t in range(len(states)) if segments[t] == text and mask[t]]
        if mode == "last_tokens":
            kept = kept[-LAST_TOKENS:]
        if mode == "last":
            vectors.append(kept[-1])
        elif mode == "bos":
            vectors.append(kept[0])
        elif mode == "max":
            vectors.append(torch.stack([max(state[h] for state in kept) for h in range(WIDTH)]))
        else:
            weights = [i + 1 if mode == "weighted_mean" else 1 for i in range(len(kept))]
            divisor = len(kept) ** 0.5 if mode == "mean_sqrt_len" else sum(weights)
            vectors.append(sum(w * state for w, state in zip(weights, kept)) / divisor)
    return torch.stack(vectors)


@pytest.mark.parametrize("mode", POOLINGS)
@pytest.mark.parametrize("filler", [0, 7])
def test_equals_the_naive_loop(mode: str, filler: int) -> None:
    for seed in range(5):
        states, mask, segments = material(seed, filler)
        found = Pooling(mode)(states.float(), mask, segments, ROWS)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), naive(mode, states, mask, segments), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("mode", POOLINGS)
def test_gradients_equal_the_naive_loops(mode: str) -> None:
    states, mask, segments = material()
    states = states.nan_to_num()
    weights = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grads = []
    for pool in (lambda s: Pooling(mode)(s, mask, segments, ROWS), lambda s: naive(mode, s, mask, segments)):
        leaf = states.clone().requires_grad_()
        (pool(leaf).double() * weights).sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(grads[0], grads[1], atol=1e-6, rtol=1e-6)
    assert not grads[0][~mask].any()


@pytest.mark.parametrize("mode", POOLINGS)
def test_order_of_the_texts_does_not_matter(mode: str) -> None:
    states, mask, segments = material(filler=0)
    states = states.float()
    order = [3, 0, 5, 1, 4, 2]
    places = torch.cat([(segments == text).nonzero()[:, 0] for text in order])
    moved = torch.repeat_interleave(torch.arange(ROWS), torch.bincount(segments)[order])
    found = Pooling(mode)(states[places], mask[places], moved, ROWS)
    torch.testing.assert_close(found, Pooling(mode)(states, mask, segments, ROWS)[order], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("mode", POOLINGS)
def test_half_precision_is_summed_in_float32(mode: str) -> None:
    """4,096 equal bfloat16 states have their own value as mean; a bfloat16 sum would stop growing
    at 256 of them.
    """
    states = torch.full((4096, 2), 1.5, dtype=torch.bfloat16)
    found = Pooling(mode)(states, torch.ones(4096, dtype=torch.bool), torch.zeros(4096, dtype=torch.int64), 1)
    assert found.dtype == torch.float32
    right = 1.5 * 64 if mode == "mean_sqrt_len" else 1.5
    torch.testing.assert_close(found, torch.full((1, 2), right), atol=1e-4, rtol=0)


TOGETHER = "+".join(CONCATENATED)


@pytest.mark.parametrize("mode", [*(mode for mode in POOLINGS if mode != "last_tokens"), TOGETHER, "max+bos"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_sentence_transformers_pooling_gives_the_same(mode: str, side: str) -> None:
    from sentence_transformers.models import Pooling as Theirs

    states, _, segments = material(filler=0)
    longest = int(torch.bincount(segments).max())
    padded, mask = torch.zeros(ROWS, longest, WIDTH), torch.zeros(ROWS, longest, dtype=torch.int64)
    for text in range(ROWS):
        own = states[segments == text].float()
        place = slice(0, len(own)) if side == "right" else slice(longest - len(own), longest)
        padded[text, place], mask[text, place] = own, 1
    renamed = {"weighted_mean": "weightedmean", "last": "lasttoken", "bos": "cls", "mean_sqrt_len": "mean_sqrt_len_tokens"}
    names = [renamed.get(part, part) for part in mode.split("+")]
    theirs = Theirs(WIDTH, pooling_mode=names)({"token_embeddings": padded, "attention_mask": mask})["sentence_embedding"]
    pooling = PoolingConfig(mode=mode).build(WIDTH)
    ours = pooling(states.float(), torch.ones(len(states), dtype=torch.bool), segments, ROWS)
    assert ours.shape[1] == (getattr(pooling, "dimension", None) or WIDTH)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_a_text_without_a_pooled_token_is_an_error() -> None:
    states, mask, segments = material()
    with pytest.raises(InputError, match="text 2 of the pass has no token to pool"):
        Pooling("mean")(states, mask & (segments != 2), segments, ROWS)


def test_names() -> None:
    assert {Pooling(name).mode for name in ("eos", "eos_token", "last_token", "lasttoken")} == {"last"}
    assert Pooling("cls").mode == Pooling("bos_token").mode == "bos"
    with pytest.raises(
        InputError,
        match="unknown mode 'median'; did you mean 'mean'\\? one of mean, weighted_mean, last, last_tokens, bos, max",
    ):
        Pooling("median")
    assert "weighted_mean" in repr(Pooling("weighted_mean"))


def test_poolings_that_are_concatenated() -> None:
    made = Concatenated("cls+mean_sqrt_len_tokens", width=5)
    assert (made.mode, made.dimension, made.reads) == ("bos+mean_sqrt_len", 10, "last")
    states, mask, segments = material()
    parts = [Pooling(mode)(states, mask, segments, ROWS) for mode in ("bos", "mean_sqrt_len")]
    assert torch.equal(made(states, mask, segments, ROWS), torch.cat(parts, 1))
    weighted = Concatenated("mean+weighted_mean", width=5)
    count_from_start(weighted, True)
    right = Pooling("weighted_mean", from_start=True)(states, mask, segments, ROWS)
    assert torch.equal(weighted(states, mask, segments, ROWS)[:, 5:], right)
    for mode, wrong in (("mean+median", "median"), ("mean+last_tokens", "last_tokens"), ("mean+", "")):
        with pytest.raises(
            InputError, match=f"pooling: unknown mode {wrong!r} in '{re.escape(mode)}'; .*one of bos, max, mean"
        ):
            Concatenated(mode, width=5)
