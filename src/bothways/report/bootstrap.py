"""Bootstrap intervals of scores and of differences between models, paired over items.

It maps items (`bothways.evaluation.item_scores`) to replicates, without models or pages.

Efron & Tibshirani 1993 (chapters 13 and 16): draw n of the n items with replacement B times,
compute the statistic on each draw, and take the percentiles 2.5 and 97.5. All models of a task use
the same draws, so the replicates of a difference are differences of replicates. An item that is
hard for every model moves both scores and leaves the difference unchanged (Koehn 2004 uses the same
test for machine translation). The statistic is recomputed on every draw. Ranks are those of the
draw, not of the whole.

A draw matters only through the number of times it holds each item. So draws are (B, n) counts, and
a mean or a rank correlation becomes a few array operations over blocks of them. With the items in
ascending order and c the counts summed over equal values, the mid-rank of a value in the draw is
cumsum(c) - (c - 1) / 2.

Letters: B resamples, n items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
# Numbers in one block of counts. The half a dozen arrays of a correlation then stay in a core's
# cache.
_BLOCK = 1 << 16
# Rounding of stored items moves a score by far less than this. A larger gap means another
# statistic.
_SAME = 5e-4


@dataclass(frozen=True)
class Items:
    """The items of one task and model, ready for resampling.

    Attributes:
        values: (n,) values with the score as their mean, or the predictions to rank.
        gold: (n,) gold scores for the rank correlation, or labels 0 and 1 for an average precision.
            None for a mean.
        groups: (n,) number of the subset of each item. Resampling stays within subsets, and the
            score is the mean over them.
        weights: weights of the subsets, with sum 1.
        precision: if True, the score is the average precision of predictions for labels in `gold`,
            instead of a rank correlation.
    """

    values: np.ndarray
    gold: np.ndarray | None
    groups: np.ndarray
    weights: np.ndarray
    precision: bool = False

    def __len__(self) -> int:
        return len(self.values)


def read_items(details: Mapping[str, Any], score: float) -> Items | None:
    """Read the items of a record's details. The result is None if none of them reproduce `score`.

    This check prevents an interval next to a score that was computed in another way.
    """
    stored = details.get("items")
    if not isinstance(stored, Mapping):
        return None
    values = _numbers(stored.get("values", stored.get("predicted")))
    gold = _numbers(stored["gold"]) if "gold" in stored else None
    if values is None or ("gold" in stored and (gold is None or len(gold) != len(values))):
        return None
    precision = stored.get("measure") == "average_precision"
    if precision and (gold is None or not np.isin(gold, (0, 1)).all()):
        return None
    try:
        groups = np.asarray(stored.get("groups", np.zeros(len(values), dtype=np.int64)))
    except ValueError:  # lists of several lengths
        return None
    if groups.shape != values.shape or groups.dtype.kind not in "iu" or groups.min() < 0:
        return None
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(groups).astype(np.float64)
    weights = (
        sizes / sizes.sum()
        if stored.get("weighting") == "wmean"
        else np.full(len(sizes), 1 / len(sizes))
    )
    items = Items(values, gold, groups, weights, precision)
    whole = float(statistic(items, np.ones((1, len(items))))[0])
    return items if abs(whole - score) <= _SAME else None


def _numbers(values: object) -> np.ndarray | None:
    """Read at least two finite numbers as float64 (n,), or return None."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.ndim == 1 and len(array) > 1 and np.isfinite(array).all() else None


def draws(groups: np.ndarray, resamples: int, seed: int, task: str) -> np.ndarray:
    """Draw positions (B, n) of resampled items.

    Position i of a draw holds an item of the same group as item i.

    Args:
        groups: (n,) number of each item's group.
        resamples: B.
        seed: the report's seed.
        task: the data's fingerprint (hex), so that two tasks do not share draws.
    """
    key = (
        int(task[:16], 16)
        if task[:16] and all(letter in "0123456789abcdef" for letter in task[:16])
        else 0
    )
    generator = np.random.default_rng([seed, key])
    drawn = np.empty((resamples, len(groups)), dtype=np.int64)
    for group in range(int(groups.max()) + 1):
        members = np.flatnonzero(groups == group)
        drawn[:, members] = members[generator.integers(0, len(members), (resamples, len(members)))]
    return drawn


def replicates(
    models: Mapping[str, Items], resamples: int, seed: int, task: str
) -> dict[str, np.ndarray]:
    """Compute the score (B,) of every model on the same draws.

    All models must have the same items in the same order.
    """
    first = next(iter(models.values()))
    drawn = draws(first.groups, resamples, seed, task)
    rows = max(1, _BLOCK // len(first))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in models}
    for start in range(0, resamples, rows):
        block = drawn[start : start + rows]
        offsets = np.arange(len(block))[:, None] * len(first)
        counts = (
            np.bincount((block + offsets).ravel(), minlength=block.size)
            .reshape(block.shape)
            .astype(np.float64)
        )
        gold = gold_ranks(first, counts)  # the same for all models, and half of the work
        for name, items in models.items():
            parts[name].append(statistic(items, counts, gold))
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}


def gold_ranks(items: Items, counts: np.ndarray) -> list[np.ndarray]:
    """Compute the centered ranks (B, members) of the gold scores in each draw, one array per group.

    The result is empty if nothing is ranked.
    """
    if items.gold is None or items.precision:
        return []
    return [_centered_ranks(items.gold[members], counts[:, members]) for members in _members(items)]


def statistic(
    items: Items, counts: np.ndarray, gold: Sequence[np.ndarray] | None = None
) -> np.ndarray:
    """Compute the score (B,) on draws. Draw b holds item i `counts[b, i]` times.

    Args:
        items: items of one model.
        counts: (B, n) float64.
        gold: result of `gold_ranks` for them, if it is already known.
    """
    ranked = gold_ranks(items, counts) if gold is None else gold
    total = np.zeros(len(counts))
    for group, (members, weight) in enumerate(zip(_members(items), items.weights)):
        inside = counts[:, members]
        if items.gold is None:
            score = inside @ items.values[members] / inside.sum(axis=1)
        elif items.precision:
            score = _average_precision(items.values[members], items.gold[members], inside)
        else:
            score = _correlation(
                _centered_ranks(items.values[members], inside), ranked[group], inside
            )
        total += weight * score
    return total


def _members(items: Items) -> list[slice | np.ndarray]:
    """Locate the items of each group."""
    if len(items.weights) == 1:
        return [slice(None)]
    return [np.flatnonzero(items.groups == group) for group in range(len(items.weights))]


def _correlation(a: np.ndarray, b: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Compute the correlation of centered ranks (B, n) in each draw.

    It is 0 if one side of a draw is constant, as in `pearson` of the STS task.
    """
    weighted_a, weighted_b = counts * a, counts * b
    both, left, right = (
        np.einsum("bn,bn->b", x, y) for x, y in ((weighted_a, b), (weighted_a, a), (weighted_b, b))
    )
    # Ranks are multiples of 1/2, so their sums are exact, and a constant side gives exactly 0.
    defined = (left > 0) & (right > 0)
    return np.where(defined, both / np.sqrt(np.where(defined, left * right, 1.0)), 0.0)


def _average_precision(values: np.ndarray, gold: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Compute the average precision of labels (n,), ranked by values (n,), in each draw.

    Equal values share one threshold, as in scikit-learn. It is 0 if a draw holds no item of label
    1.
    """
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    drawn, right = (
        np.add.reduceat(each[:, order], starts, axis=1) for each in (counts, counts * gold)
    )
    above, found = np.cumsum(drawn, axis=1), np.cumsum(right, axis=1)
    # A value that was not drawn adds nothing.
    summed = (right * found / np.maximum(above, 1)).sum(axis=1)
    return np.asarray(summed / np.maximum(found[:, -1], 1))


def _centered_ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Compute the mid-ranks (B, n) of the items in each draw, minus their mean (n + 1) / 2."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    at_value = counts[:, order]
    if len(starts) < len(values):
        at_value = np.add.reduceat(at_value, starts, axis=1)
    ranks = (
        np.cumsum(at_value, axis=1)
        - (at_value - 1) / 2
        - (counts.sum(axis=1, keepdims=True) + 1) / 2
    )
    value_of = np.empty(len(values), dtype=np.int64)
    value_of[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(values)]))
    ranked: np.ndarray = ranks[:, value_of]
    return ranked


def interval(sample: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Compute the percentile interval of replicates (B,)."""
    tail = (1 - level) / 2
    low, high = np.quantile(sample, [tail, 1 - tail])
    return float(low), float(high)
