"""Text that is safe on a terminal and in a page: nothing in it acts on the screen.

Texts, column names, file names and task names come from others. An escape sequence in one of them could set the window's title, hide a
line or turn text around. Everything that bothways prints, logs or puts into a report passes here.
"""

from __future__ import annotations

import logging
import re

LONGEST = 600
"""Characters of an error line: enough for a path, a reason and a remedy."""

# Controls (C0 but for tab and line feed, DEL, C1, which holds the 8-bit forms of ESC sequences), separators of lines and paragraphs,
# overrides and isolates that turn around the text behind them, halves of surrogate pairs, and what is no character.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_MARK = "\N{REPLACEMENT CHARACTER}"


def printable(text: object) -> str:
    """The text with U+FFFD for each character that acts on a terminal instead of being shown. Line feeds and tabs stay."""
    return _UNPRINTABLE.sub(_MARK, str(text).replace("\r\n", "\n"))


def one_line(text: object, longest: int = LONGEST) -> str:
    """The text as one printable line of at most `longest` characters; what is too much is left out of its middle.

    The beginning of an error says where it is, and its end says what to do.
    """
    line = str(text)
    if len(line) > 4 * longest:  # the middle goes anyway; a whole file in a message need not be read
        line = line[: 2 * longest] + line[-2 * longest :]
    line = " ".join(printable(re.sub(r"[\r\n]+", " ", line)).split())
    if len(line) <= longest and len(str(text)) <= 4 * longest:
        return line
    head = longest * 2 // 3
    return f"{line[:head].rstrip()} … {line[len(line) - (longest - head - 3) :].lstrip()}"


class PrintableFormatter(logging.Formatter):
    """A log's format whose lines are printable."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as `logging.Formatter` gives it, made printable."""
        return printable(super().format(record))
