"""Attention written out in float64: the reference of every way of running a plan."""

from __future__ import annotations

import itertools

import torch

LENGTHS = (9, 4, 4, 1, 12)
WIDTH = 8


def tensors(heads, key_heads, dtype=torch.float32, lengths=LENGTHS, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    made = [torch.randn(total, h, WIDTH, generator=generator) * scale for h in (heads, key_heads, key_heads)]
    return [t.to(dtype) for t in made]


def brute_force(q, k, v, plan, window=None, softcap=None, sinks=None, scaling=WIDTH**-0.5):
    """Token by token, head by head, in float64."""
    q, k, v = q.double(), k.double(), v.double()
    seen = plan.dense(window=window)
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[-1], dtype=torch.float64)
    shared = q.shape[1] // k.shape[1]
    for token, head in itertools.product(range(q.shape[0]), range(q.shape[1])):
        scores = k[seen[token], head // shared] @ q[token, head] * scaling
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if sinks is not None:
            scores = torch.cat([scores, sinks[head].double()[None]])
        weights = scores.softmax(0)[: int(seen[token].sum())]
        out[token, head] = weights @ v[seen[token], head // shared]
    return out
