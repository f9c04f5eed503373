"""Refuses words that no verb can use: an empty value, and a number beyond 64 bits.

An empty value is most often an unset variable of the shell. The words of the command line are
checked before any verb runs: `--base ""` must not train the default model, and `--limit` with 23
digits must not run forever.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bothways.errors import InputError
from bothways.foreign import one_line

_MAY_BE_EMPTY = {"--prompt", "--query-prompt", "--document-prompt", "--instruction"}
"""Options with a text that may be empty. It replaces a stored prompt by none."""
_MAY_BE_BLANK = {"--separator"}
"""Options that may be a blank: `--separator " "` splits "cs.CL cs.LG"."""
_WHOLE = re.compile(r"[+-]?\d+")
_GREATEST = 2**63 - 1
_DIGITS = len(str(_GREATEST)) + 1


def check_words(words: Sequence[str]) -> None:
    """Refuse empty values and whole numbers beyond 64 bits.

    Raises:
        InputError: if there is one. The error names the option.
    """
    before = ""
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", "")
        if equals:
            _check(option, value)
        elif not option:
            _check(before, word)
        before = option if option and not equals else ""


def _check(option: str, value: str) -> None:
    if option in _MAY_BE_EMPTY or (option in _MAY_BE_BLANK and value):
        return
    if not value.strip():
        given = f"{option}: the value" if option else "an argument"
        raise InputError(
            f"{given} is empty (an unset variable of the shell?); give a value, or leave it out"
        )
    if option and _WHOLE.fullmatch(value) and (len(value) > _DIGITS or abs(int(value)) > _GREATEST):
        raise InputError(
            f"{option} {one_line(value, 30)}: the number is too large; it must be at most {_GREATEST}"
        )
