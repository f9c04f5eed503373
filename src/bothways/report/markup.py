"""Prepares text for HTML: escaped, printable, short enough, with numbers as usual in the field.

Nothing in a results file is trusted. Model names, task names, texts and commands all pass through
here.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Sequence

from bothways.printable import printable

_MINUS = "\N{MINUS SIGN}"


def esc(value: object) -> str:
    """Escape a value for text and quoted attributes. Unprintable characters become U+FFFD."""
    return html.escape(printable(value), quote=True)


def number(value: float, decimals: int = 1, *, sign: bool = False) -> str:
    """Write a number with fixed decimals and a real minus sign, and never as "-0.0".

    With `sign`, positive numbers get a plus.
    """
    if not math.isfinite(value):
        return "–"
    text = f"{value:+.{decimals}f}" if sign else f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", _MINUS)


def width(text: str) -> int:
    """Count the columns that a text takes. East Asian characters take two."""
    return sum(
        2
        if unicodedata.east_asian_width(letter) in "WF"
        else 0
        if unicodedata.combining(letter)
        else 1
        for letter in text
    )


def clip(text: str, columns: int) -> str:
    """Shorten a text to `columns` by an ellipsis in the middle, as names differ at their ends."""
    text = " ".join(printable(text).split())
    if width(text) <= columns:
        return text
    left = (columns - 1) // 2
    head, tail = "", ""
    for letter in text:
        if width(head + letter) > left:
            break
        head += letter
    for letter in reversed(text):
        if width(head) + 1 + width(letter + tail) > columns:
            break
        tail = letter + tail
    return f"{head.rstrip()}…{tail.lstrip()}"


def short_labels(labels: Sequence[str], columns: int) -> list[str]:
    """Clip labels for charts, and keep them distinct.

    If several begin with the same word (the base model), that word is dropped, unless this makes
    two of them equal. "bidirectional" becomes "bi", as in LLM2Vec's tables.
    """
    plain = [
        " ".join("bi" if word == "bidirectional" else word for word in label.split())
        for label in labels
    ]
    first = [label.partition(" ")[0] for label in plain]
    bare = [
        rest if (rest := label.partition(" ")[2]) and first.count(word) > 1 else label
        for label, word in zip(plain, first)
    ]
    short = [
        clip(label, columns) for label in (bare if len(set(bare)) == len(set(plain)) else plain)
    ]
    return [
        f"{clip(text, columns - 3)} #{short[: i + 1].count(text)}"
        if short.count(text) > 1
        else text
        for i, text in enumerate(short)
    ]


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: `1 model`, `2 models`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def table(caption: str, head: Sequence[str], rows: Sequence[str], *, classes: str = "") -> str:
    """Build a table that scrolls within itself and can be reached by keyboard.

    Args:
        caption: HTML.
        head: `<th>` cells, HTML.
        rows: `<tr>` elements, HTML.
        classes: CSS classes of the table.
    """
    name = re.sub(r"<[^>]*>", "", caption)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table class="{classes}"><caption>{caption}</caption>'
        f"<thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
