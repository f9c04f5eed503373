"""Scores of the single items of a task, saved next to its metrics.

A metric is one number. Whether two models differ by more than chance depends on the pairs or
queries behind it (Efron & Tibshirani 1993, the paired bootstrap), and a reader wants to see
examples. `details["items"]` of a record holds both, in one of two forms:

    {"values": [v, …]}
        the main metric is their mean (nDCG by query)
    {"predicted": [p, …], "gold": [g, …]}
        the main metric is their Spearman correlation (STS)
      with "groups": [0, 0, 1, …], "weighting": "mean" | "wmean"
        … averaged over groups
      with "measure": "average_precision"
        … or the average precision, with gold labels 0 and 1

Both forms also have `"texts": [{"item": i, name: text, …}, …]` for the items that this model gets
most wrong. If an item improves from one model to the next, the older file has its text. If it gets
worse, the newer file has it. So the worst items of each file suffice to show either. Files stay
small: tasks of more than `MOST` items save none, and `TEXTS` items have texts, cut to `CHARACTERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata

MOST = 10_000
TEXTS = 150
CHARACTERS = 240
# Decimals of ranked values, as in `sts.pair_cosines`. With fewer decimals, values that differ in
# the score would tie here (hundreds of cosines of count vectors differ by 1e-9), and the items
# would give another score than the task.
_RANKED = 12


def value_items(values: np.ndarray, texts: Callable[[int], dict[str, str]]) -> dict[str, Any]:
    """Make the items of a metric that is a mean.

    Args:
        values: (n,) finite, higher is better.
        texts: returns the texts of item i by name, for example `{"query": "…", "relevant": "…"}`.

    Returns:
        `{"items": …}` to merge into a score's details. It is empty if there are more than `MOST`.
    """
    if len(values) > MOST:
        return {}
    lost = values.max(initial=0.0) - values
    return {"items": {"values": _rounded(values), "texts": _texts(lost, texts)}}


def pair_items(
    predicted: np.ndarray,
    gold: np.ndarray,
    texts: Callable[[int], dict[str, str]],
    *,
    groups: Sequence[str] | None = None,
    weighting: str = "all",
    measure: Literal["spearman", "average_precision"] = "spearman",
) -> dict[str, Any]:
    """Make the items of a rank correlation or an average precision.

    The loss of an item is the distance between its two ranks.

    Args:
        predicted: (n,) cosines.
        gold: (n,) true scores, or labels 0 and 1.
        texts: returns the texts of pair i by name, for example `{"first": "…", "second": "…"}`.
        groups: the subset of each pair. It is saved only if `weighting` needs it.
        weighting: "all" for one correlation over everything, "mean" or "wmean" for an average over
            subsets.
        measure: the kind of the main metric.

    Returns:
        `{"items": …}` to merge into a score's details. It is empty if there are more than `MOST`.
    """
    if len(predicted) > MOST:
        return {}
    lost = np.abs(rankdata(predicted) - rankdata(gold))
    items: dict[str, Any] = {
        "predicted": _rounded(predicted, _RANKED),
        "gold": _rounded(gold, _RANKED),
    }
    if measure != "spearman":
        items["measure"] = measure
    if groups is not None and weighting != "all":
        number = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        items |= {"groups": [number[name] for name in groups], "weighting": weighting}
    return {"items": {**items, "texts": _texts(lost, texts)}}


def shorten(text: str) -> str:
    """Return one line of at most `CHARACTERS`.

    It ends with an ellipsis if something is missing.
    """
    # A document may have megabytes, so only its start is split into words.
    line = " ".join(text[: 8 * CHARACTERS].split())
    return line if len(line) <= CHARACTERS else line[: CHARACTERS - 1].rstrip() + "…"


def _texts(lost: np.ndarray, texts: Callable[[int], dict[str, str]]) -> list[dict[str, Any]]:
    # stable, so that every model keeps the same items among equals
    worst = np.argsort(-lost, kind="stable")[:TEXTS]
    return [
        {"item": int(i), **{name: shorten(text) for name, text in texts(int(i)).items()}}
        for i in sorted(worst)
    ]


def _rounded(values: np.ndarray, decimals: int = 7) -> list[float]:
    return [round(float(value), decimals) for value in values]
