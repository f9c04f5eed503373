"""Dropout as a function of a seed: every forward pass of an objective seeds torch's generators.

If randomness depended on earlier passes, the gradient cache could not replay it, and a run could
not be resumed in the middle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def pass_seed(seed: int, index: int) -> int:
    """Compute a seed in [0, 2^63) for forward pass `index` of a step.

    It is hashed, so that pass 1 of seed 2 differs from pass 2 of seed 1.
    """
    return (
        int.from_bytes(
            hashlib.blake2b(f"pass/{seed}/{index}".encode(), digest_size=8).digest(), "big"
        )
        >> 1
    )


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's CPU generator and that of `device`, and restore both afterwards."""
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    with torch.random.fork_rng(devices=[device], device_type=device.type):
        torch.manual_seed(seed)
        yield
