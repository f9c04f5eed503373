r"""How far a tokenizer's regular expressions look ahead.

A tokenizer that splits texts by a regular expression reads them from left to right. To know that
the beginning of a text is split in the same way with and without the rest of the text, you need a
bound on how far one match can look. Such a bound follows from the pattern. Only parts that are
repeated without limit (`\p{L}+`, `\s*`) look arbitrarily far, and they stop between two characters
that they cannot both match. `\p{L}+` stops between the last letter of a word and the blank behind
it.

    pattern ─▶ Reach(steps, repeated)
    a match, failed or not, looks across at most `steps` stops of its `repeated` parts

Patterns are those of Oniguruma, which the tokenizers library uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tokenizers import Regex, pre_tokenizers

_BACK_REFERENCE = re.compile(r"\\[1-9]|\\k<|\\g<")
_BOUNDED = re.compile(r"\{(\d*)(,?)(\d*)\}")
_ESCAPE = re.compile(
    r"\\(?:[pP]\{[^}]*\}|x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL
)
_GROUP = re.compile(r"\((?:\?(?:<?[=!]|[>:]|[a-zA-Z-]*:|[a-zA-Z-]*(?=\))))?")
MOST_STEPS = 300
"""A pattern that looks farther than this is treated as one that looks arbitrarily far."""


@dataclass
class PatternReach:
    """How far a pattern may look: `steps` single characters and joints, and `repeated` classes.

    These are repeated without limit. Each item of `repeated` is a list of classes, because a
    repeated group repeats everything in it.
    """

    steps: int = 0
    repeated: list[list[str]] = field(default_factory=list)


class _Unbounded(Exception):
    """The pattern is too complex for this reader. Callers assume that it looks arbitrarily far."""


def reach(pattern: str) -> PatternReach | None:
    r"""Return the reach of a pattern, or None if this reader can find no bound.

    For example, the reach of ` ?\p{L}+` is `Reach(steps=4, repeated=[["\p{L}"]])`.
    """
    if _BACK_REFERENCE.search(pattern):
        return None
    try:
        found, _, end = _sequence(pattern, 0, "(?i" in pattern)
    except (_Unbounded, RecursionError):
        return None
    return found if end == len(pattern) and found.steps <= MOST_STEPS else None


def _sequence(pattern: str, at: int, fold: bool) -> tuple[PatternReach, list[str], int]:
    """Read up to a closing bracket or the end: (reach, all classes inside, place behind)."""
    found, inside = PatternReach(), []
    while at < len(pattern) and pattern[at] != ")":
        if pattern[at] in "|^$":
            at += 1
            continue
        if pattern[at] == "(":
            opening = _GROUP.match(pattern, at)
            inner, classes, at = _sequence(pattern, opening.end(), fold)  # type: ignore[union-attr]
            if at >= len(pattern):
                raise _Unbounded
            at += 1
            most, at = _repeat(pattern, at)
            found.steps += inner.steps * (1 if most is None else max(most, 1))
            found.repeated += inner.repeated
            if most is None and classes:
                found.repeated.append(classes)
        else:
            atom, at = _atom(pattern, at)
            classes = [f"(?i:{atom})" if fold else atom]
            most, at = _repeat(pattern, at)
            found.steps += 2 if most is None else most + 1
            if most is None:
                found.repeated.append(classes)
        inside += classes
    return found, inside, at


def _atom(pattern: str, at: int) -> tuple[str, int]:
    """Read one character, escape or class. Returns it and the place behind it."""
    if pattern[at] == "\\":
        match = _ESCAPE.match(pattern, at)
        if match is None:
            raise _Unbounded
        return match[0], match.end()
    if pattern[at] != "[":
        return pattern[at], at + 1
    depth, end = 0, at
    while end < len(pattern):
        if pattern[end] == "\\":
            end += 1
        elif pattern[end] == "[":
            depth += 1
        elif pattern[end] == "]":
            depth -= 1
            if depth == 0:
                return pattern[at : end + 1], end + 1
        end += 1
    raise _Unbounded


def _repeat(pattern: str, at: int) -> tuple[int | None, int]:
    """Read a quantifier: the largest number of repeats (None if unlimited) and the place behind."""
    most: int | None = 1
    if pattern[at : at + 1] in ("+", "*"):
        most, at = None, at + 1
    elif pattern[at : at + 1] == "?":
        at += 1
    elif bounded := _BOUNDED.match(pattern, at):
        low, comma, high = bounded.groups()
        if not low and not high:
            raise _Unbounded
        most = (int(high) if high else None) if comma else int(low)
        at = bounded.end()
    else:
        return most, at
    # Lazy and possessive forms look no farther. A second quantifier is read as one.
    while pattern[at : at + 1] in ("?", "+"):
        if pattern[at] == "+" and pattern[at - 1] == "}":
            most = None
        at += 1
    return most, at


class Stops:
    """Tells at which places repeated parts of patterns must stop.

    Args:
        reaches: reach of every pattern that is applied to a text.
        seen_as: function from one character to its normalized form.
    """

    def __init__(self, reaches: Sequence[PatternReach], seen_as: Callable[[str], str]) -> None:
        self.steps = sum(each.steps for each in reaches)
        self._classes = [
            [_matcher(atom) for atom in classes] for each in reaches for classes in each.repeated
        ]
        self._seen_as = seen_as
        self._known: dict[str, tuple[bool, ...] | None] = {}

    def between(self, left: str, right: str) -> bool:
        """Return whether no repeated part can match both of two neighboring characters."""
        first, second = self._matched(left), self._matched(right)
        return (
            first is not None
            and second is not None
            and not any(a and b for a, b in zip(first, second))
        )

    def _matched(self, character: str) -> tuple[bool, ...] | None:
        """Return which repeated parts match a character, in its original or normalized form.

        Returns None if the normalizer drops the character.
        """
        if character not in self._known:
            forms = self._seen_as(character)
            self._known[character] = (
                tuple(
                    any(_matches(each, one) for each in group for one in {character, *forms})
                    for group in self._classes
                )
                if forms
                else None
            )
        return self._known[character]


def _matcher(atom: str) -> pre_tokenizers.Split:
    return pre_tokenizers.Split(Regex(atom), "removed")


def _matches(matcher: pre_tokenizers.Split, character: str) -> bool:
    return not matcher.pre_tokenize_str(character)
