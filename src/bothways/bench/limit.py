"""The matrix products of an encoder, which bound its speed."""

from __future__ import annotations

from collections import Counter

from torch import nn

Shapes = list[tuple[int, int, int]]
"""(inputs, outputs, number of such matrices)."""


def shapes(backbone: nn.Module) -> Shapes:
    """Return the shapes of a backbone's linear layers, which every token passes.

    Embeddings are looked up, not multiplied. A family with several experts has more linear layers
    than a token passes, so its limit is too low.
    """
    found = Counter(
        (module.in_features, module.out_features)
        for module in backbone.modules()
        if isinstance(module, nn.Linear)
    )
    return [(inputs, outputs, count) for (inputs, outputs), count in sorted(found.items())]


def operations(found: Shapes) -> int:
    """Return the floating-point operations of one token: two for each weight."""
    return sum(2 * inputs * outputs * count for inputs, outputs, count in found)
