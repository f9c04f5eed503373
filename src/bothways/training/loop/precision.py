"""Which numbers a stage computes with: bfloat16 forward passes where the hardware has them, float32 for whatever is trained.

It stands apart because three types meet. Frozen weights lie in the compute type, for memory. Trained weights and their optimiser are
float32, since bfloat16 keeps 8 bits and swallows updates below 1/256 of a weight. Autocast brings the two together, and only around
the backbone: pooling, similarities and losses see float32 arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from bothways.backbone.adapter.lora import lora_layers
from bothways.backbone.hardware import resolve_dtype


class Precision(NamedTuple):
    """compute: of matrix products; weights: of the backbone as loaded."""

    compute: torch.dtype
    weights: torch.dtype

    @property
    def autocast(self) -> bool:
        """Whether products run in a smaller type than trained weights lie in."""
        return self.compute != torch.float32


def choose(dtype: str, device: torch.device, *, adapter: bool) -> Precision:
    """The types of a stage.

    Args:
        dtype: the recipe's; auto is bfloat16 where the device computes it.
        device: where training runs.
        adapter: only an adapter is trained, so the backbone may lie in the compute type.
    """
    compute = resolve_dtype(dtype, device)
    return Precision(compute, compute if adapter else torch.float32)


@contextmanager
def autocast(backbone: nn.Module, precision: Precision) -> Iterator[None]:
    """Within the block every forward pass of `backbone` runs under autocast to the compute type.

    The wrapper sits on the instance, as Accelerate's own does, so that objectives need not know of it. Its cache of cast weights is
    off: a weight is used once per pass, and a cache inside a caller's own autocast would outlive the pass.
    """
    if not precision.autocast:
        yield
        return
    inner = backbone.forward
    layers = [layer for _, layer in lora_layers(backbone)]
    for layer in layers:
        # autocast brings input and factors together; peft's own cast of the input to float32 would only be undone, at a cost
        layer.cast_input_dtype_enabled = False
    device = next(backbone.parameters()).device.type

    @functools.wraps(inner)
    def forward(*args: object, **kwargs: object) -> object:
        with torch.autocast(device, dtype=precision.compute, cache_enabled=False):
            return inner(*args, **kwargs)

    backbone.forward = forward
    try:
        yield
    finally:
        del backbone.forward
        for layer in layers:
            layer.cast_input_dtype_enabled = True
