"""What a task scored item by item, kept beside its metrics so that a report can put intervals on them and show examples.

A metric is one number; whether two models differ by more than chance needs the pairs or queries behind it (Efron & Tibshirani 1993,
the paired bootstrap), and what changed needs their texts. `details["items"]` of a record holds both, in one of two forms:

    {"values": [v, …]}                                     the main metric is their mean (nDCG by query)
    {"predicted": [p, …], "gold": [g, …]}                  the main metric is their Spearman correlation (STS)
      with "groups": [0, 0, 1, …], "weighting": "mean" | "wmean"       … averaged over groups
      with "measure": "average_precision"                    … or the average precision, gold being labels 0 and 1

and in both `"texts": [{"item": i, name: text, …}, …]` for the items that this model gets most wrong. Of a pair that improves from one
model to the next the older file has the text, of one that gets worse the newer: the worst items of each suffice to show either. Files
stay small: at most `MOST` items (beyond that nothing is kept), `TEXTS` of them with texts, cut to `CHARACTERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata

MOST = 10_000
TEXTS = 150
CHARACTERS = 240
# decimals of what is ranked: those of `sts.pair_cosines`. With fewer, neighbours that the score told apart would tie (cosines of
# count vectors lie 1e-9 apart by the hundred), and the items would give another score than the one they stand beside
_RANKED = 12


def value_items(values: np.ndarray, texts: Callable[[int], dict[str, str]]) -> dict[str, Any]:
    """Items of a metric that is a mean.

    Args:
        values: (n,) finite, higher is better.
        texts: the texts of item i by what they are ("query", "relevant", …).

    Returns:
        `{"items": …}` to merge into a score's details; empty where there are more than `MOST`.
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
    """Items of a rank correlation or an average precision; what an item loses is the distance between its two ranks.

    Args:
        predicted: (n,) cosines.
        gold: (n,) true scores, or labels 0 and 1.
        texts: the texts of pair i by what they are.
        groups: the subset of each pair; kept only where `weighting` needs it.
        weighting: "all" for one correlation over everything, "mean" or "wmean" for an average over subsets.
        measure: what the main metric is.

    Returns:
        `{"items": …}` to merge into a score's details; empty where there are more than `MOST`.
    """
    if len(predicted) > MOST:
        return {}
    lost = np.abs(rankdata(predicted) - rankdata(gold))
    items: dict[str, Any] = {"predicted": _rounded(predicted, _RANKED), "gold": _rounded(gold, _RANKED)}
    if measure != "spearman":
        items["measure"] = measure
    if groups is not None and weighting != "all":
        number = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        items |= {"groups": [number[name] for name in groups], "weighting": weighting}
    return {"items": {**items, "texts": _texts(lost, texts)}}


def shorten(text: str) -> str:
    """One line of at most `CHARACTERS`, an ellipsis at its end where something is missing."""
    # a document may be megabytes long: what cannot be shown need not be split
    line = " ".join(text[: 8 * CHARACTERS].split())
    return line if len(line) <= CHARACTERS else line[: CHARACTERS - 1].rstrip() + "…"


def _texts(lost: np.ndarray, texts: Callable[[int], dict[str, str]]) -> list[dict[str, Any]]:
    # stable, so that among equals every model keeps the same ones
    worst = np.argsort(-lost, kind="stable")[:TEXTS]
    return [{"item": int(i), **{name: shorten(text) for name, text in texts(int(i)).items()}} for i in sorted(worst)]


def _rounded(values: np.ndarray, decimals: int = 7) -> list[float]:
    return [round(float(value), decimals) for value in values]
