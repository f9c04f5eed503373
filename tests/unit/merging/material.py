"""Encoders of one tiny base, each with its own noise."""

from __future__ import annotations

from pathlib import Path

import torch

import bothways as bw
from tiny import tiny_llama

PROMPTS = {"query": "Find:\n"}


def child(base: Path, out: Path, seed: int, **options) -> Path:
    """An encoder of the base, with its own noise on all weights."""
    encoder = bw.convert(base, dtype="float32", **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in encoder.parameters():
            each.add_(0.02 * torch.randn(each.shape, generator=generator))
    encoder.save(out)
    return out


def family(folder: Path) -> Path:
    """A base, and three children a, b, c."""
    tiny_llama(folder / "base")
    for seed, name in enumerate("abc"):
        child(folder / "base", folder / name, seed, prompts=PROMPTS)
    return folder
