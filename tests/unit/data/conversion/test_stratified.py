"""Stratified sampling and the file that is written."""

from collections import Counter

import pytest

from bothways.data.conversion.stratified import stratified
from bothways.errors import InputError

LABELS = ["a"] * 50 + ["b"] * 5 + ["c"] * 30 + ["d"]


def counts(**options):
    kept = stratified(LABELS, **options)
    assert kept == sorted(set(kept))
    return Counter(LABELS[place] for place in kept)


def test_per_label():
    assert counts(per_label=10) == {"a": 10, "b": 5, "c": 10, "d": 1}
    assert counts() == Counter(LABELS)


@pytest.mark.parametrize("total", range(1, 90))
def test_totals_are_met_as_evenly_as_the_labels_allow(total):
    """No label gets more than one row beyond another that could still give."""
    found = counts(total=total)
    assert sum(found.values()) == min(total, len(LABELS))
    have = Counter(LABELS)
    assert all(found[one] <= found[two] + 1 for one in have for two in have if found[two] < have[two])


def test_both_bounds():
    assert counts(per_label=2, total=5) == {"a": 2, "b": 1, "c": 1, "d": 1}


def test_choice_within_a_label_depends_on_seed_and_label_alone():
    alone = stratified(LABELS[:50], per_label=7, seed=5)
    assert stratified(LABELS, per_label=7, seed=5)[:7] == alone
    assert stratified(LABELS, per_label=7, seed=6)[:7] != alone
    with pytest.raises(InputError, match="per_label: 0"):
        stratified(LABELS, per_label=0)
