"""Tests for ranked documents: the rank window, the limits on scores, and rules of the caller.

A limit is relative to a query's lowest-scored answer. Scores are float32 sums of many products, so
a score within 1e-6 of a limit (as a share of it) counts as having reached it. Then 0.95 of 0.8 is
the same number here and on paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bothways.data.labeled.example import Example
from bothways.mining.options import MiningOptions

Rule = Callable[[Example, str], "str | None"]
"""Returns why a document must not be a negative of a row, or None if it may."""

ROUNDING = 1e-6

WINDOW = "ranked above the window"
PERC = "scored too near to the positive (share)"
MARGIN = "scored too near to the positive (margin)"
MAXIMUM = "scored above the maximum"


def share_limit(positive: float, share: float) -> float:
    """Return `share` of a score.

    A share of a negative score would be above it, so the same distance below is returned.
    """
    return positive - (1 - share) * abs(positive)


def reached(scores: np.ndarray, limit: float) -> np.ndarray:
    """Return which scores (k,) are at or above the limit, up to rounding, as (k,) bool."""
    return scores.astype(np.float64) >= limit - ROUNDING * abs(limit)


def reasons(scores: np.ndarray, positive: float, options: MiningOptions) -> list[str | None]:
    """Return why each ranked document cannot become a negative, or None if it can.

    The first reason counts, in the order window, maximum, share, margin.

    Args:
        scores: (k,) float32 of ranks 1 to k.
        positive: lowest score of the query's answers.
        options: window and limits.
    """
    tests: list[tuple[str, np.ndarray]] = [
        (WINDOW, np.arange(1, len(scores) + 1) < options.ranks[0])
    ]
    if options.max_score is not None:
        tests.append((MAXIMUM, reached(scores, options.max_score)))
    if options.share is not None:
        tests.append((PERC, reached(scores, share_limit(positive, options.share))))
    if options.relative_margin is not None:
        tests.append((PERC, reached(scores, share_limit(positive, 1 - options.relative_margin))))
    if options.margin is not None:
        tests.append((MARGIN, reached(scores, positive - options.margin)))
    found: list[str | None] = [None] * len(scores)
    for name, hit in reversed(tests):
        for number in np.flatnonzero(hit).tolist():
            found[number] = name
    return found


def broken_rule(rules: Sequence[Rule], example: Example, document: str) -> str | None:
    """Return the reason of the first rule that objects, or None."""
    return next((reason for rule in rules if (reason := rule(example, document)) is not None), None)
