"""Chooses how each group of linear layers is computed, so that vectors keep their directions.

Inputs and weights have one term of 8 bits or two, or the group stays in float32. Groups start with
one term of each. The change of a group that saves most for its cost is made next, until the
predicted loss is small enough for each text and in the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from bothways.backbone.linears.products import kernel_levels
from bothways.encoder.int8.effects import Effects

MEAN, LEAST = 0.995, 0.98
"""Lowest mean and lowest single cosine to the float32 vectors of a good int8 encoder."""

_GOAL = 0.6
"""Predicted losses that the choice may use at first, in units of those that these allow.

Later tries take less, because losses grow faster than the prediction, which is a first order."""

SHARE = 0.3
"""Share of the allowed losses that the texts which choose may have, if their scales are whole rows.

Other texts lose more: with 0.8, sentences of STS-B kept 0.990 in the mean and 0.48 in the least."""

_TRIES = 8

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


class HeldCosines:
    """Cosines of held texts' vectors to those of the float32 encoder, and whether they are near.

    Attributes:
        cosines: one for each text.
    """

    cosines: list[float]

    @property
    def mean(self) -> float:
        """Mean cosine of the held texts."""
        return float(np.mean(self.cosines))

    @property
    def least(self) -> float:
        """Least cosine of the held texts."""
        return float(np.min(self.cosines))

    @property
    def ok(self) -> bool:
        """Whether both are as they should be."""
        return self.mean >= MEAN and self.least >= LEAST


def settle(
    effects: Effects,
    install: Callable[[list[Form]], None],
    cosines: Callable[[bool], np.ndarray],
    costs: Mapping[Form, float] | None = None,
    share: float = SHARE,
) -> tuple[list[Form], np.ndarray]:
    """Choose forms and try them, with less allowed loss each time, until the vectors are kept.

    Args:
        effects: measured losses of cosine.
        install: makes the encoder compute in the forms that it is given.
        cosines: cosines to the float32 vectors, of the texts that choose if False, and of the held
            ones if True.
        costs: see `choose`.
        share: share of the allowed losses that the texts which choose may have.

    Returns:
        The forms of the last try, which are installed, and the cosines of the held texts. They may
            be too low, if no try was good.
    """
    budget, forms = _GOAL, list[Form]()
    for _ in range(_TRIES):
        before = forms
        forms = choose(effects, budget * (1 - MEAN), budget * (1 - LEAST), costs)
        budget *= 0.6
        if forms == before:
            continue
        install(forms)
        found = cosines(False)
        if 1 - found.mean() <= share * (1 - MEAN) and 1 - found.min() <= share * (1 - LEAST):
            held = cosines(True)
            if held.mean() >= MEAN and held.min() >= LEAST:
                return forms, held
    return forms, cosines(True)


def choose(
    effects: Effects, mean: float, most: float, costs: Mapping[Form, float] | None = None
) -> list[Form]:
    """Return the form of each group.

    Args:
        effects: measured losses of cosine.
        mean: allowed loss of cosine in the mean of the texts, for example 0.002.
        most: allowed loss of each text.
        costs: the forms that can be computed, with the time of a product in each, for example
            {"one": 1.0, "float32": 3.2}. If None, those of `Int8Product` on this CPU.
    """
    if costs is None:
        costs = {**_COST, "float32": _FLOAT32[kernel_levels()]}
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
