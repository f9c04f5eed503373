"""Dropout that is fast on CPUs.

torch draws one double-precision random number per element, one after the other. In LoRA training of
a 135M model this takes a third of each step (benchmarks/dropout.py). Sixteen random bits decide
just as well, and one 64-bit draw holds four of them. The probability is rounded to a multiple of
1/65,536, and the kept values are scaled by the probability that was really used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 1 << 16


def dropout(x: Tensor, p: float) -> Tensor:
    """Set each element to zero with probability `p` and scale the others by 1 / (1 - p).

    The randomness comes from torch's global generator.

    Args:
        x: tensor of any shape.
        p: probability in [0, 1).
    """
    if p <= 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p, training=True)
    threshold = min(max(round(p * _LEVELS), 1), _LEVELS - 1)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    kept = (bits >= threshold - _LEVELS // 2).to(x.dtype)
    scale = _LEVELS / (_LEVELS - threshold)
    if x.dtype in (torch.float32, torch.float64):
        # One product forward and one backward instead of two each, with the same numbers. In half
        # precision the mask would round the scale.
        return x * kept.mul_(scale)
    return x * kept * scale


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with this file's draws on CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements in training mode, and return the input unchanged otherwise."""
        return dropout(x, self.p) if self.training else x
