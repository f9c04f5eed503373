"""Chooses how each group of linear layers is computed, so that vectors keep their directions.

There are three forms: int8 with one term, int8 with two terms, and float32. Groups start with one
term. The group that saves most per cost gets the next better form, until the predicted loss is
small enough for each text and in the mean.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from bothways.encoder.int8.effects import Effects

Form = Literal["one", "two", "float32"]

_COST = {"one": 1.0, "two": 1.6, "float32": 5.0}
"""Time of a product of many rows, in units of one term (Xeon with AMX, benchmarks/latency.py)."""


def choose(effects: Effects, mean: float, most: float) -> list[Form]:
    """Return the form of each group.

    Args:
        effects: measured losses of cosine.
        mean: allowed loss of cosine in the mean of the texts, for example 0.002.
        most: allowed loss of each text.
    """
    forms: list[Form] = ["one"] * len(effects.groups)
    loss = effects.of_weights + effects.of_inputs  # (G, N), of the present forms
    while True:
        total = loss.sum(0)
        # a text counts by how far it is over, and all texts count if the mean is
        over = np.maximum(total - most, 0) + (total if total.mean() > mean else 0)
        if not over.any():
            return forms
        best, gain = -1, 0.0
        for index, form in enumerate(forms):
            if form == "float32":
                continue
            after = _next(form)
            saved = ((loss[index] - _loss(effects, index, after)) * over).sum()
            cost = (_COST[after] - _COST[form]) * effects.sizes[index]
            if saved / cost > gain:
                best, gain = index, saved / cost
        if best < 0:
            return forms
        forms[best] = _next(forms[best])
        loss[best] = _loss(effects, best, forms[best])


def _next(form: Form) -> Form:
    return "two" if form == "one" else "float32"


def _loss(effects: Effects, index: int, form: Form) -> np.ndarray:
    """Return the loss of cosine (N,) of a group. A second term removes that of the inputs."""
    weights, inputs = effects.of_weights[index], effects.of_inputs[index]
    found: np.ndarray = weights * (form != "float32") + inputs * (form == "one")
    return found
