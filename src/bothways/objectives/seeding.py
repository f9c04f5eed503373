"""Dropout as a function of a seed: every forward pass of an objective starts torch's generators anew.

Randomness that depends on what ran before could be neither replayed by the gradient cache nor resumed in the middle of a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def pass_seed(seed: int, index: int) -> int:
    """Seed in [0, 2^63) of forward pass `index` of a step; hashed, so that pass 1 of seed 2 is not pass 2 of seed 1."""
    return int.from_bytes(hashlib.blake2b(f"pass/{seed}/{index}".encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run with torch's CPU generator and that of `device` seeded; put both back afterwards."""
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    with torch.random.fork_rng(devices=[device], device_type=device.type):
        torch.manual_seed(seed)
        yield
