"""Finds the piece of a text that may go on behind the known beginning.

A tokenizer's pre-tokenizers split a text one after the other, each one every piece of the one
before. All pieces but the last one end before the known beginning ends, so they are certain. The
last one is open: only its start, and that it goes on at least to some place, are certain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tokenizers import pre_tokenizers

from bothways.encoder.long_words.split_machine import SplitMachine

Piece = tuple[int, int]
"""First character, and a place that the piece reaches at least."""

OWN_PATTERNS = {
    "ByteLevel": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "Whitespace": r"\w+|[^\w\s]+",
}
"""Patterns of pre-tokenizers that are regular expressions without saying so."""
BY_CHARACTER = {
    "BertPreTokenizer",
    "CharDelimiterSplit",
    "Digits",
    "Metaspace",
    "Punctuation",
    "WhitespaceSplit",
}
"""They decide at each character by that character and those before it."""


def open_piece(stages: Sequence[dict[str, Any]], text: str, end: int) -> Piece | None:
    """Find the open piece of a text of which the first `end` characters are known.

    The piece is what all stages together give. None if a stage is not known here, or if it leaves
    the start of the piece uncertain.

    Args:
        stages: the pre-tokenizers in their order, as JSON objects.
        text: characters as the normalizer gives them.
        end: number of known characters.
    """
    piece: Piece | None = (0, end)
    changed = (
        False  # a stage before has rewritten the text, so that a pattern reads other characters
    )
    for stage in stages:
        divide = _division(json.dumps(stage, sort_keys=True))
        if (
            divide is None
            or piece is None
            or piece[0] >= piece[1]
            or (changed and not _by_character(stage))
        ):
            return None
        piece = divide(text, *piece)
        changed = changed or stage["type"] in ("Metaspace", "ByteLevel")
    return piece


@cache
def _division(state: str) -> Callable[[str, int, int], Piece | None] | None:
    """Return the function that finds a stage's open piece within that of the stage before."""
    stage = json.loads(state)
    kind = stage["type"]
    if _by_character(stage):
        made = pre_tokenizers.Sequence([])
        made.__setstate__(json.dumps({"type": "Sequence", "pretokenizers": [stage]}).encode())
        return lambda text, start, end: _last_by_character(made, text, start, end)
    if kind == "ByteLevel" and not stage.get("use_regex", True):
        return lambda text, start, end: (start, end)
    if kind in OWN_PATTERNS:
        pattern = OWN_PATTERNS[kind]
    elif kind == "Split" and "Regex" in stage["pattern"] and _pieces_are_matches(stage):
        pattern = stage["pattern"]["Regex"]
    else:
        return None
    try:
        machine = SplitMachine(pattern)
    except ValueError:
        return None
    if kind == "ByteLevel" and stage.get("add_prefix_space", False):
        return lambda text, start, end: _after_a_blank(machine, text, start, end)
    # Whitespace drops the gaps between words. `invert` exchanges matches and gaps.
    drops = kind == "Whitespace" or str(stage.get("behavior", "")).lower() == "removed"
    inverted = bool(stage.get("invert", True))
    gaps, matches = not (drops and inverted), not (drops and not inverted)
    return lambda text, start, end: _last_match(
        machine, text, start, end, gaps=gaps, matches=matches
    )


def _by_character(stage: dict[str, Any]) -> bool:
    literal = stage["pattern"].get("String") if stage["type"] == "Split" else None
    return stage["type"] in BY_CHARACTER or (literal is not None and len(literal) == 1)


def _pieces_are_matches(stage: dict[str, Any]) -> bool:
    """Return whether matches, and the gaps between them, are pieces by themselves."""
    return str(stage.get("behavior", "")).lower() in ("isolated", "removed")


def _last_by_character(
    stage: pre_tokenizers.PreTokenizer, text: str, start: int, end: int
) -> Piece | None:
    spans = [span for _, span in stage.pre_tokenize_str(text[start:end])]
    if not spans or spans[-1][1] != end - start:
        return None
    return start + spans[-1][0], end


def _after_a_blank(machine: SplitMachine, text: str, start: int, end: int) -> Piece | None:
    """Find the open piece if ByteLevel puts a blank in front of a text without one."""
    if text[start] == " ":
        return _last_match(machine, text, start, end)
    found = _last_match(machine, " " + text[start:end], 0, end - start + 1)
    return None if found is None else (start + max(found[0] - 1, 0), start + found[1] - 1)


def _last_match(
    machine: SplitMachine,
    text: str,
    start: int,
    end: int,
    *,
    gaps: bool = True,
    matches: bool = True,
) -> Piece | None:
    """Find the open piece among the matches of a pattern and the gaps between them.

    `gaps` and `matches` say which of the two the splitter keeps.
    """
    place = gap = start
    while place < end:
        match = machine.match(text, place, end)
        if match.reached:
            if match.end is not None:
                return (place, match.end) if matches else None
            return (gap, place) if gaps and gap < place else None
        if match.end is None:
            place += 1
        else:
            place = gap = match.end
    return (gap, end) if gaps and gap < end else None
