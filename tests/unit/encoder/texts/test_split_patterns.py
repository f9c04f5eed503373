"""How far a split pattern looks, and where its repeated parts must stop: never less, and never
sooner, than it really does.
"""

from __future__ import annotations

import pytest

from bothways.encoder.texts.split_patterns import Stops, reach

# GPT-2's kinds of characters
KINDS = r"\p{L}+|\p{N}+|[^\s\p{L}\p{N}]+|\s+"


@pytest.mark.parametrize(
    ("pattern", "longest"),
    [
        ("ab", 2),
        (r"\p{N}{1,3}", 3),
        ("(?:ab){1,3}", 6),
        ("(?:ab){2}", 4),
        ("(?:ab)?c", 3),
        ("x|(?:abc){1,2}", 6),
        ("(?:ab){0}c", 1),
    ],
)
def test_a_bounded_pattern_looks_at_least_as_far_as_its_longest_match(pattern: str, longest: int) -> None:
    found = reach(pattern)
    assert found is not None
    assert found.steps >= longest
    assert not found.repeated


@pytest.mark.parametrize(
    ("left", "right", "stops"),
    [
        ("a", "b", False),
        ("1", "2", False),
        (" ", "\n", False),
        ("-", "+", False),
        ("a", "1", True),
        ("1", "a", True),
        (" ", "a", True),
        ("a", ".", True),
    ],
)
def test_repeated_parts_stop_between_characters_that_none_of_them_joins(left: str, right: str, stops: bool) -> None:
    found = reach(KINDS)
    assert found is not None
    assert Stops([found], lambda character: {character}).between(left, right) is stops


def test_a_character_that_the_normalizer_drops_stops_nothing() -> None:
    found = reach(KINDS)
    assert found is not None
    stops = Stops([found], lambda character: set() if character == "1" else {character})
    assert not stops.between("a", "1")
    assert not stops.between("1", "a")
