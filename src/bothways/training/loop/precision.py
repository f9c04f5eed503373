"""Number types of a stage: bfloat16 forward passes if the hardware has them, float32 for training.

Frozen weights have the compute type, to save memory. Trained weights and their optimizer are
float32, because bfloat16 keeps 8 bits and swallows updates below 1/256 of a weight. Autocast joins
the two, and only around the backbone: pooling, similarities and losses use float32 arithmetic.
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


class NumberTypes(NamedTuple):
    """The types of a stage.

    Attributes:
        compute: type of matrix products.
        weights: type of the backbone as loaded.
    """

    compute: torch.dtype
    weights: torch.dtype

    @property
    def autocast(self) -> bool:
        """True if products run in a smaller type than the trained weights have."""
        return self.compute != torch.float32


def choose(dtype: str, device: torch.device, *, adapter: bool) -> NumberTypes:
    """Choose the types of a stage.

    Args:
        dtype: the recipe's. "auto" is bfloat16 if the device computes it, else float32.
        device: device that training runs on.
        adapter: True if only an adapter is trained, so the backbone may have the compute type.
    """
    compute = resolve_dtype(dtype, device)
    return NumberTypes(compute, compute if adapter else torch.float32)


@contextmanager
def autocast(backbone: nn.Module, precision: NumberTypes) -> Iterator[None]:
    """Run every forward pass of `backbone` in the block under autocast to the compute type.

    The wrapper is set on the instance, like Accelerate's own, so objectives need not know of it.
    Its cache of cast weights is off: a weight is used once per pass, and a cache inside a caller's
    own autocast would outlive the pass.
    """
    if not precision.autocast:
        yield
        return
    inner = backbone.forward
    layers = [layer for _, layer in lora_layers(backbone)]
    for layer in layers:
        # Autocast converts input and factors. Peft's own cast of the input to float32 would only be
        # undone, at a cost.
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
