"""Makes text safe on a terminal and in a page, so that nothing in it acts on the screen.

Texts, column names, file names and task names come from others. An escape sequence in one of them
could set the window's title, hide a line or reverse text. Everything that bothways prints, logs or
puts into a report passes through here.
"""

from __future__ import annotations

import logging
import os
import re

LONGEST = 600
"""Maximum number of characters of an error line: enough for a path, a reason and a remedy."""

# Controls (C0 except tab and line feed, DEL, and C1, which contains the 8-bit forms of ESC
# sequences), separators of lines and paragraphs, overrides and isolates that reverse the text after
# them, halves of surrogate pairs, and code points that are not characters.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_MARK = "\N{REPLACEMENT CHARACTER}"


def printable(text: object) -> str:
    """Replace each character that acts on a terminal by U+FFFD. Line feeds and tabs stay."""
    return _UNPRINTABLE.sub(_MARK, str(text).replace("\r\n", "\n"))


def printable_line(text: object, longest: int = LONGEST) -> str:
    """Join text into one printable line of at most `longest` characters, cut in its middle.

    The beginning of an error gives its place, and the end gives the remedy.
    """
    line = str(text)
    if len(line) > 4 * longest:
        # The middle is cut anyway, so a whole file in a message need not be read.
        line = line[: 2 * longest] + line[-2 * longest :]
    line = " ".join(printable(re.sub(r"[\r\n]+", " ", line)).split())
    if len(line) <= longest and len(str(text)) <= 4 * longest:
        return line
    head = longest * 2 // 3
    return f"{line[:head].rstrip()} … {line[len(line) - (longest - head - 3) :].lstrip()}"


def utf8_name(path: str | os.PathLike[str]) -> str:
    """Return a path as UTF-8 can hold it.

    A byte that is not UTF-8 becomes an escape of six characters, which ends in its hex digits.
    """
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


class PrintableFormatter(logging.Formatter):
    """A log format with printable lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as `logging.Formatter` does, and make it printable."""
        return printable(super().format(record))
