"""What no verb can mean: an empty name, which is most often an unset variable of the shell, and a number without bounds.

Checked on the words of the command line, before any verb runs: `--base ""` must not train the default model, nor `--limit` with 23 digits
go on for ever.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bothways.errors import InputError
from bothways.foreign import one_line

#: Options whose text may be empty: no prompt, in place of a stored one.
_MAY_BE_EMPTY = {"--prompt", "--query-prompt", "--document-prompt", "--instruction"}
#: Options that take a blank: `--separator " "` splits "cs.CL cs.LG".
_MAY_BE_BLANK = {"--separator"}
_WHOLE = re.compile(r"[+-]?\d+")
_GREATEST = 2**63 - 1
_DIGITS = len(str(_GREATEST)) + 1


def check_words(words: Sequence[str]) -> None:
    """Refuse empty values and whole numbers beyond 64 bits.

    Raises:
        InputError: there is one; names the option.
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
        what = f"{option}: the value" if option else "an argument"
        raise InputError(f"{what} is empty (an unset variable of the shell?); name what is meant, or leave it out")
    if option and _WHOLE.fullmatch(value) and (len(value) > _DIGITS or abs(int(value)) > _GREATEST):
        raise InputError(f"{option} {one_line(value, 30)}: too large a number; expected one below {_GREATEST}")
