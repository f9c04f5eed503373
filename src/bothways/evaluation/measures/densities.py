"""Distribution of the cosines of pairs, for each range of gold scores.

SimCSE (arXiv 2104.08821, appendix on the distribution of singular values and cosines) draws STS-B
this way in five groups. An encoder that orders pairs well separates the groups. In one that has
collapsed, all groups pile up near 1. Functions take arrays only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bothways.errors import InputError

BINS = 5
RESOLUTION = 40


def gold_bins(gold: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the edges (bins + 1,) of equal ranges of gold scores.

    They run from the lowest score rounded down to the highest rounded up: 0, 1, … 5 for STS-B.

    Raises:
        InputError: if there are no scores, if scores are not finite, or if they are all one whole
            number.
    """
    gold = np.asarray(gold, dtype=np.float64)
    if not len(gold) or not np.isfinite(gold).all():
        raise InputError(f"densities need finite gold scores, got {len(gold)} scores")
    low, high = math.floor(gold.min()), math.ceil(gold.max())
    if low == high:
        raise InputError(f"densities need gold scores that differ; all are {low}")
    return np.linspace(low, high, bins + 1)


def cosine_densities(
    cosines: np.ndarray, gold: np.ndarray, bins: int = BINS, resolution: int = RESOLUTION
) -> dict[str, dict[str, Any]]:
    """Compute histograms of cosines for each range of gold scores, all over the same edges.

    Args:
        cosines: (N,) in [-1, 1].
        gold: (N,) true scores, on any scale.
        bins: number of ranges of gold scores. A score on an inner edge belongs to the range above
            it.
        resolution: bars of each histogram, from the lowest to the highest of all cosines.

    Returns:
        A mapping by range, for example "0-1", to `edges` (resolution + 1,), `counts` (resolution,),
        `pairs`, and `mean` and `deviation` of the cosines (null if the range is empty). For a
        density, divide counts by their sum and by the width of a bar.

    Raises:
        InputError: if the lengths differ, and see `gold_bins`.
    """
    cosines, gold = np.asarray(cosines, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    if cosines.shape != gold.shape:
        raise InputError(
            f"densities need one gold score for each cosine, got {cosines.shape} cosines and {gold.shape} scores"
        )
    ranges = gold_bins(gold, bins)
    low, high = float(cosines.min()), float(cosines.max())
    if high - low < 1e-9:  # all are equal: draw bars of some width around the one value
        low, high = low - 0.01, high + 0.01
    edges = np.linspace(low, high, resolution + 1)
    place = np.clip(np.searchsorted(ranges, gold, side="right") - 1, 0, bins - 1)
    found: dict[str, dict[str, Any]] = {}
    for number in range(bins):
        mine = cosines[place == number]
        found[f"{ranges[number]:g}-{ranges[number + 1]:g}"] = {
            "edges": [round(float(edge), 6) for edge in edges],
            "counts": np.histogram(mine, edges)[0].tolist(),
            "pairs": len(mine),
            "mean": round(float(mine.mean()), 6) if len(mine) else None,
            "deviation": round(float(mine.std()), 6) if len(mine) else None,
        }
    return found
