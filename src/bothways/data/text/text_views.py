"""Discrete views of a text: word deletion and crop, with which SimCSE compares dropout.

SimCSE (https://arxiv.org/abs/2104.08821, Table 1): on the STS-B development set dropout scores
82.5, cropping 10 % 77.8, and deleting one word 75.9. They are here for that comparison. Both work
on *units*: words separated by white space. In scripts without spaces between words a unit is a
single character with its combining marks, so that a Chinese sentence has more than one.
"""

from __future__ import annotations

import itertools
import unicodedata

import torch

from bothways.errors import InputError

# scripts written without spaces: Thai, Lao, Tibetan, Myanmar, Khmer, Kana and Han, with extensions
_UNSPACED = (
    (0x0E00, 0x0FFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3005, 0x3007),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x20000, 0x3FFFF),
)
_JOINER = "\u200d"  # ZERO WIDTH JOINER: the characters on both sides are one emoji


def delete_words(text: str, amount: int | float, generator: torch.Generator) -> str:
    """Delete randomly chosen units and keep the others in order.

    For example, delete_words("a b c", 1, generator) is "a b", "a c" or "b c".

    Args:
        text: any text.
        amount: an int is a number of units, 1 or more. A float is a share of the units in (0, 1),
            rounded, at least one unit.
        generator: the source of the choice, without replacement.

    Returns:
        The remaining text, stripped. At least one unit stays, so a text of one unit comes back
        unchanged.

    Raises:
        InputError: `amount` is out of range.
    """
    if isinstance(amount, bool) or not (amount >= 1 if isinstance(amount, int) else 0 < amount < 1):
        raise InputError(
            f"delete_words: amount {amount!r}; expected a whole number of words, or a share between 0 and 1"
        )
    units = split_units(text)
    if len(units) < 2:
        return text
    count = amount if isinstance(amount, int) else max(1, round(amount * len(units)))
    count = min(count, len(units) - 1)
    gone = set(torch.randperm(len(units), generator=generator)[:count].tolist())
    return "".join(unit for index, unit in enumerate(units) if index not in gone).strip()


def crop(text: str, fraction: float, generator: torch.Generator) -> str:
    """Keep one contiguous span of units at a random place.

    Args:
        text: any text.
        fraction: the share of units to cut away, in (0, 1), rounded, at least one unit. "Crop 10 %"
            keeps 90 %.
        generator: the source of the span's start, uniform over all places.

    Returns:
        The span, stripped. At least one unit stays, so a text of one unit comes back unchanged.

    Raises:
        InputError: `fraction` is out of range.
    """
    if not 0 < fraction < 1:
        raise InputError(
            f"crop: fraction {fraction!r}; expected a number between 0 and 1, the share to cut away"
        )
    units = split_units(text)
    if len(units) < 2:
        return text
    keep = max(1, len(units) - max(1, round(fraction * len(units))))
    start = int(torch.randint(len(units) - keep + 1, (1,), generator=generator))
    return "".join(units[start : start + keep]).strip()


def split_units(text: str) -> list[str]:
    """Cut a text into units that add up to the text. White space belongs to the unit before it.

    A unit is a word, or one character of a script without spaces. A text that is a single word of
    any script (a URL, one word of 100,000 characters) is cut into characters, because otherwise no
    view would differ from it.
    """
    units = _cut(text, every_character=False)
    return units if len(units) != 1 else _cut(text, every_character=True)


def _cut(text: str, *, every_character: bool) -> list[str]:
    starts: list[int] = []
    closed = True  # the unit before this character is complete
    joined = False  # the character before is a joiner
    for index, char in enumerate(text):
        if char.isspace():
            closed = True
            continue
        belongs = joined or char == _JOINER or unicodedata.category(char).startswith("M")
        joined = char == _JOINER
        if belongs and starts:
            continue
        single = every_character or _unspaced(char)
        if closed or single:
            starts.append(index)
        closed = single
    if not starts:
        return []
    bounds = [0, *starts[1:], len(text)]  # leading whitespace belongs to the first unit
    return [text[a:b] for a, b in itertools.pairwise(bounds)]


def _unspaced(char: str) -> bool:
    code = ord(char)
    return code >= 0x0E00 and any(low <= code <= high for low, high in _UNSPACED)
