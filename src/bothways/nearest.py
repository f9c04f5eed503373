"""The known name that a misspelt one was meant to be, for the messages of errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(given: object, names: Iterable[str]) -> str | None:
    """Return the known name most similar to `given`, or None if none is similar.

    Upper case and dashes for underscores do not count as differences.

    For example, nearest("Weighted-mean", ["mean", "weighted_mean"]) is "weighted_mean".
    """
    known = {_plain(name): name for name in reversed(list(names))}
    near = difflib.get_close_matches(_plain(str(given)), known, n=1)
    return known[near[0]] if near else None


def meant(given: object, names: Iterable[str]) -> str:
    """Return the part of an error message that offers the nearest known name.

    It ends with a blank, so that the list of all names can follow. It is empty if no name is
    similar. For example, meant("stss", ["sts", "pairs"]) is "did you mean 'sts'? ".
    """
    found = nearest(given, names)
    return "" if found is None else f"did you mean {found!r}? "


def did_you_mean(given: object, names: Iterable[str]) -> str:
    """Return the end of an error message that does not list the known names.

    For example, did_you_mean("sede", ["seed", "base"]) is "; did you mean 'seed'?". It is empty if
    no name is similar.
    """
    found = nearest(given, names)
    return "" if found is None else f"; did you mean {found!r}?"


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
