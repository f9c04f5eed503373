"""Stratified sampling: equally many rows of every label, as far as it has them; NV-Embed (arXiv 2405.17428) samples by label."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

from bothways.errors import InputError


def stratified(
    labels: Sequence[Hashable], *, per_label: int | None = None, total: int | None = None, seed: int = 0
) -> list[int]:
    """Places of the rows to keep, in order.

    Args:
        labels: one of each row.
        per_label: at most so many of each label.
        total: at most so many in all, shared equally: labels that have fewer than their share give all they have, and the others
            share the rest. Shares that do not come out even favour labels in order of appearance.
        seed: which rows of a label; the choice within a label depends on the seed and the label alone, not on other labels.

    Raises:
        InputError: a number below 1.
    """
    for name, value in (("per_label", per_label), ("total", total)):
        if value is not None and value < 1:
            raise InputError(f"{name}: {value}; expected at least 1, or none for all")
    places: dict[Hashable, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    shares = {label: len(rows) if per_label is None else min(per_label, len(rows)) for label, rows in places.items()}
    if total is not None:
        shares = _share(shares, total)
    kept: list[int] = []
    for label, rows in places.items():
        # a string seeds by its SHA-512, which is the same in every process, unlike the hash of a string
        order = random.Random(f"{seed}:{label}").sample(rows, len(rows))
        kept += order[: shares[label]]
    return sorted(kept)


def _share(available: dict[Hashable, int], total: int) -> dict[Hashable, int]:
    """Fill all labels evenly, as water does; what remains below one for each goes to the first ones."""
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
