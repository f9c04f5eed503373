"""The attention poolings once more, token by token and head by head in float64, from the formulas
of NV-Embed's code and paper.

A state dict in, vectors out; nothing of torch's layers, attention or norms is used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROWS, WIDTH = 5, 12
LENGTHS = (1, 4, 9, 2, 6)
Weights = dict[str, Tensor]


def material(seed: int = 0, filler: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """States (T, H) float64, mask (T,), segments (T,): ragged texts, each with unpooled tokens but
    the first; filler of NaN.
    """
    generator = torch.Generator().manual_seed(seed)
    segments = torch.repeat_interleave(torch.arange(ROWS + 1), torch.tensor([*LENGTHS, filler]))
    mask = torch.rand(len(segments), generator=generator) < 0.6
    for text in range(ROWS):
        mask[int((segments == text).nonzero()[-1])] = True
    mask[int((segments == 2).nonzero()[0])] = False
    states = 2 * torch.randn(len(segments), WIDTH, generator=generator, dtype=torch.float64)
    states[segments == ROWS] = float("nan")
    return states, mask, segments


def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.sum() / len(x)
    return centred / ((centred**2).sum() / len(x) + 1e-5).sqrt() * weight + bias


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def read(query: Tensor, keys: list[Tensor], values: list[Tensor], scale: float) -> Tensor:
    """What one query of one head reads."""
    scores = torch.stack([(query * key).sum() * scale for key in keys])
    weights = (scores - scores.max()).exp()
    weights = weights / weights.sum()
    return sum(w * value for w, value in zip(weights, values))  # type: ignore[return-value]


def feed_forward(x: Tensor, w: Weights, gated: bool) -> Tensor:
    inner = w["feed_forward.expand.weight"] @ x + w["feed_forward.expand.bias"]
    if gated:
        half = len(inner) // 2
        inner = inner[:half] * gelu(inner[half:])
    else:
        inner = gelu(inner)
    return w["feed_forward.contract.weight"] @ inner + w["feed_forward.contract.bias"]


def block(state: Tensor, contexts: list[Tensor], w: Weights, heads: int) -> Tensor:
    """NVIDIA's block for one token; `contexts` are normed already."""
    query = w["query.weight"] @ norm(state, w["norm.weight"], w["norm.bias"])
    inner = len(query)
    pairs = [w["key_value.weight"] @ context for context in contexts]
    keys, values = [pair[:inner] for pair in pairs], [pair[inner:] for pair in pairs]
    size = inner // heads
    parts = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        parts.append(read(query[own], [k[own] for k in keys], [v[own] for v in values], 1 / math.sqrt(size)))
    x = w["output.weight"] @ torch.cat(parts) + state
    normed = norm(x, w["feed_forward_norm.weight"], w["feed_forward_norm.bias"])
    return feed_forward(normed, w, gated=True) + x


def plain(state: Tensor, w: Weights, heads: int) -> Tensor:
    """The paper's formula for one token."""
    latents = list(w["latents"])
    size = len(state) // heads
    parts = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        seen = [latent[own] for latent in latents]
        parts.append(read(state[own], seen, seen, 1.0))
    return feed_forward(torch.cat(parts), w, gated=False)


def pool(mode: str, w: Weights, states: Tensor, mask: Tensor, segments: Tensor, heads: int) -> Tensor:
    """Vectors (N, H). `mode`: "code", "paper" or "self"."""
    vectors = []
    for text in range(ROWS):
        tokens = [t for t in range(len(states)) if segments[t] == text]
        if mode == "self":
            contexts = [norm(states[t], w["norm.weight"], w["norm.bias"]) for t in tokens]
        elif mode == "code":
            contexts = [norm(z, w["context_norm.weight"], w["context_norm.bias"]) for z in w["latents"]]
        kept = [t for t in tokens if mask[t]]
        mixed = [plain(states[t], w, heads) if mode == "paper" else block(states[t], contexts, w, heads) for t in kept]
        vectors.append(sum(mixed) / len(mixed))
    return torch.stack(vectors)


def weights(layer: torch.nn.Module) -> Weights:
    return {name: value.detach().double() for name, value in layer.named_parameters()}
