"""Stratified sampling: as many rows of every label as of any other, as far as it has them.

NV-Embed (arXiv 2405.17428) samples by label.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

from bothways.errors import InputError


def stratified(
    labels: Sequence[Hashable],
    *,
    per_label: int | None = None,
    total: int | None = None,
    seed: int = 0,
) -> list[int]:
    """Return the places of the rows to keep, in order.

    For example, stratified(["a", "a", "b"], per_label=1) keeps one "a" and the "b".

    Args:
        labels: the label of each row.
        per_label: the maximum number of rows of each label. If None, there is no such limit.
        total: the maximum number of rows, shared equally by the labels. Labels that have fewer rows
            than their share give all, and the others share the rest. If shares do not come out
            even, labels that appear first get one more. If None, there is no such limit.
        seed: selects the rows of a label. The choice depends on the seed and the label, and not on
            other labels.

    Raises:
        InputError: a number is below 1.
    """
    for name, value in (("per_label", per_label), ("total", total)):
        if value is not None and value < 1:
            raise InputError(f"{name}: {value}; expected at least 1, or none for all")
    places: dict[Hashable, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    shares = {
        label: len(rows) if per_label is None else min(per_label, len(rows))
        for label, rows in places.items()
    }
    if total is not None:
        shares = _share(shares, total)
    kept: list[int] = []
    for label, rows in places.items():
        # a string seeds by its SHA-512, which unlike its hash is the same in every process
        order = random.Random(f"{seed}:{label}").sample(rows, len(rows))
        kept += order[: shares[label]]
    return sorted(kept)


def _share(available: dict[Hashable, int], total: int) -> dict[Hashable, int]:
    """Return how many rows each label gives.

    All labels are filled evenly. A rest of less than one row for each goes to the first ones.
    """
    shares = dict.fromkeys(available, 0)
    left = min(total, sum(available.values()))
    while left:
        hungry = [label for label in available if shares[label] < available[label]]
        step = left // len(hungry)
        if step == 0:
            for label in hungry[:left]:
                shares[label] += 1
            break
        for label in hungry:
            given = min(step, available[label] - shares[label])
            shares[label] += given
            left -= given
    return shares
