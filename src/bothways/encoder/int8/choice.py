"""Chooses how each group of linear layers is computed, so that vectors keep their directions.

Inputs and weights have one term of 8 bits or two, or the group stays in float32. Groups start with
one term of each. The change of a group that saves most for its cost is made next, until the
predicted loss is small enough for each text and in the mean.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from bothways.backbone.linears.products import kernel_levels
from bothways.encoder.int8.effects import Effects

Form = Literal["one", "two", "weights", "both", "float32"]

TERMS: dict[Form, tuple[int, int]] = {
    "one": (1, 1),
    "two": (2, 1),
    "weights": (1, 2),
    "both": (2, 2),
}
"""Terms of the inputs and of the weights, by form. "float32" has none."""

_COST: dict[Form, float] = {"one": 1.0, "two": 1.6, "weights": 1.8, "both": 2.5}
"""Time of a product of many rows, in units of one term (Xeon with AMX, benchmarks/latency.py)."""
_FLOAT32 = {127: 5.0, 63: 1.75}
"""The same in float32, by the largest whole number of the kernel: with VNNI or AMX, and without."""


def choose(effects: Effects, mean: float, most: float) -> list[Form]:
    """Return the form of each group.

    Args:
        effects: measured losses of cosine.
        mean: allowed loss of cosine in the mean of the texts, for example 0.002.
        most: allowed loss of each text.
    """
    costs: dict[Form, float] = {**_COST, "float32": _FLOAT32[kernel_levels()]}
    forms: list[Form] = ["one"] * len(effects.groups)
    loss = effects.of_weights + effects.of_inputs  # (G, N), of the present forms
    while True:
        total = loss.sum(0)
        # a text counts by how far it is over, and all texts count if the mean is
        over = np.maximum(total - most, 0) + (total if total.mean() > mean else 0)
        if not over.any():
            return forms
        best: tuple[float, int, Form] | None = None
        for index, form in enumerate(forms):
            for after, cost in costs.items():
                more = (cost - costs[form]) * effects.sizes[index]
                saved = float(((loss[index] - _loss(effects, index, after)) * over).sum())
                if more > 0 and saved > 0 and (best is None or saved / more > best[0]):
                    best = saved / more, index, after
        if best is None:
            return forms
        _, index, forms[best[1]] = best
        loss[index] = _loss(effects, index, forms[index])


def _loss(effects: Effects, index: int, form: Form) -> np.ndarray:
    """Return the loss of cosine (N,) of a group. A second term removes that of its factor."""
    inputs, weights = TERMS.get(form, (2, 2))
    found: np.ndarray = effects.of_weights[index] * (weights == 1) + effects.of_inputs[index] * (
        inputs == 1
    )
    return found
