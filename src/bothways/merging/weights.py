"""The arithmetic of merging: weighted sums and slerp of tensors, computed in float64.

Soups are weighted means (Wortsman et al., Model soups, arXiv 2203.05482). Slerp goes from one
tensor to another on the arc between their directions (Shoemake 1985, doi 10.1145/325165.325242),
tensor by tensor, as merge tools do:

    slerp(a, b, t) = sin((1 - t) ω) / sin ω · a + sin(t ω) / sin ω · b      cos ω = a·b / (|a| |b|)

Nearly parallel tensors are interpolated linearly, which is the limit of the formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bothways.errors import InputError

PARALLEL = 1e-6
"""Below this sine of the angle, slerp is linear: the difference is of the order of its square."""

State = Mapping[str, Tensor]


def weighted_mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return Σ weights[k] · tensors[k], in the type of the first tensor."""
    total = sum(weight * tensor.double() for weight, tensor in zip(weights, tensors))
    assert isinstance(total, Tensor)
    return total.to(tensors[0].dtype)


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    """Go the share `t` of the way from the first tensor to the second, see the top of this file."""
    a, b = first.double(), second.double()
    lengths = float(a.norm() * b.norm())
    cosine = float((a * b).sum()) / lengths if lengths else 1.0
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if math.sin(angle) < PARALLEL:
        return ((1 - t) * a + t * b).to(first.dtype)
    one, other = math.sin((1 - t) * angle), math.sin(t * angle)
    return ((one * a + other * b) / math.sin(angle)).to(first.dtype)


def merged_tensors(
    states: Sequence[State], rule: Callable[[Sequence[Tensor]], Tensor]
) -> dict[str, Tensor]:
    """Apply a rule to the tensors of each name.

    Args:
        states: weights of the models, with the same names and shapes.
        rule: from the tensors of one name to the merged one.

    Raises:
        InputError: if a tensor of whole numbers differs, for which no mean exists.
    """
    found = {}
    for name, tensor in states[0].items():
        tensors = [state[name] for state in states]
        if tensor.is_floating_point():
            found[name] = rule(tensors)
        elif all(torch.equal(tensor, other) for other in tensors[1:]):
            found[name] = tensor
        else:
            raise InputError(f"merge: the models differ in {name}, which holds whole numbers")
    return found


def normalized(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return weights that sum to 1, for example [2, 1, 1] → [0.5, 0.25, 0.25].

    Args:
        weights: one for each model. If None, all are equal.
        count: number of models.

    Raises:
        InputError: if there is not one weight for each model, if one is negative or not finite, or
            if all are 0.
    """
    given = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(given) != count:
        raise InputError(f"merge: {len(given)} weights for {count} models; give one for each")
    if not all(math.isfinite(weight) and weight >= 0 for weight in given) or not sum(given):
        raise InputError(
            f"merge: weights {given}; expected numbers of at least 0, not all 0, for example 2,1,1"
        )
    total = sum(given)
    return [weight / total for weight in given]
