"""Reads files that other programs wrote, or that may be damaged, with one-line errors.

Such files are models, tokenizers, adapters and settings. On a broken file, libraries raise errors
of many kinds: plain `Exception` (tokenizers), `SafetensorError`, `UnpicklingError`, `struct.error`,
`RecursionError`, `ZeroDivisionError`. Here each becomes one bounded line that names the file and
the remedy, so that a person reads a sentence and not a traceback. The original exception stays
attached (`__cause__`), and `bothways --debug …` shows it.

Three kinds pass unchanged: the project's own errors, Ctrl-C, and a GPU that is out of memory (its
callers try smaller passes).
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bothways.errors import BothwaysError, InputError

if TYPE_CHECKING:
    from torch import Tensor

_Value = TypeVar("_Value")

LIMIT = 300
"""Maximum number of characters that an error line repeats of another program's message."""

REMEDY = "the file is damaged or of another kind, so fetch or write it again"


@contextmanager
def foreign(
    place: str | os.PathLike[str],
    what: str = "cannot be read",
    remedy: str = REMEDY,
    *,
    kind: type[BothwaysError] = InputError,
    reason: Callable[[Exception], str] | None = None,
) -> Iterator[None]:
    """Turn every exception inside the block into one line: place, failure, reason, remedy.

    For example, with foreign("a.bin", "cannot be read as tensors") an error becomes "a.bin: cannot
    be read as tensors (reason; remedy)".

    Args:
        place: the file or folder that is read. The line starts with it.
        what: the failed action.
        remedy: advice for the user. If "", none is given.
        kind: class of the error.
        reason: if given, builds everything after the place from the exception, instead of `what`
            and `remedy`.

    Raises:
        BothwaysError: an error of class `kind`.
    """
    try:
        yield
    except BothwaysError:
        raise
    except Exception as error:
        if _is_device_memory(error):
            raise
        said = (
            reason(error)
            if reason is not None
            else f"{what} ({why(error)}){f'; {remedy}' if remedy else ''}"
        )
        raise kind(f"{place}: {said}") from error


def why(error: Exception) -> str:
    """Describe an exception in one line of at most LIMIT characters."""
    if isinstance(error, KeyError):
        return f"{error} is missing" if len(str(error)) < LIMIT else "a key is missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = one_line(str(error))
    # A library's own class tells more than the text, but "Exception" tells nothing.
    return (
        text
        if text and type(error).__name__ in ("Exception", "JSONDecodeError")
        else f"{type(error).__name__}: {text}"[:LIMIT]
    )


def one_line(text: str, limit: int = LIMIT) -> str:
    """Join the white space of `text`, drop control characters, and cut it at `limit` characters."""
    plain = "".join(each for each in " ".join(text.split()) if each.isprintable())
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def read_json(file: Path, default: _Value | None = None, *, remedy: str = REMEDY) -> Any:
    """Read the JSON value in a file of another program.

    Args:
        file: the file.
        default: the value if there is no such file. If None, a missing file is an error.
        remedy: advice for a broken file.

    Raises:
        InputError: if the file is missing, unreadable, not UTF-8, or not JSON (which includes
            nesting and numbers that Python refuses).
    """
    if default is not None and not file.exists():
        return default
    with foreign(file, "cannot be read as JSON", remedy):
        return json.loads(file.read_text(encoding="utf-8"))


def read_object(
    file: Path, default: Mapping[str, Any] | None = None, *, remedy: str = REMEDY
) -> dict[str, Any]:
    """Read the JSON object in a file of another program. The arguments are those of `read_json`.

    Raises:
        InputError: as in `read_json`, and if the value is not an object.
    """
    value = read_json(file, default, remedy=remedy)
    if not isinstance(value, Mapping):
        raise InputError(
            f"{file}: must hold a JSON object, and holds a {json_type(value)}; {remedy}"
        )
    return dict(value)


def object_if_whole(file: Path) -> dict[str, Any]:
    """Read the JSON object in a file, or return {} if the file is absent or not whole."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # thousands of nested brackets
        return {}
    return found if isinstance(found, dict) else {}


def json_type(value: object) -> str:
    """Name a value's type as JSON does, for example "object" for a dict."""
    names = {
        dict: "object",
        list: "list",
        str: "string",
        bool: "boolean",
        int: "number",
        float: "number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)


def positive(value: Any, where: str) -> int:
    """Check that `value` is a whole number of at least 1. 512.0 is one too.

    Raises:
        InputError: if it is anything else. The message starts with `where`.
    """
    number = (
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    )
    if not number or value != int(value) or value < 1:
        raise InputError(
            f"{where} must be a whole number of at least 1, and is {one_line(repr(value), 60)}"
        )
    return int(value)


def read_tensors(file: Path, *, remedy: str = REMEDY) -> dict[str, Tensor]:
    """Read tensors by name from a .safetensors file, or from a pickled one (.bin, .pt).

    torch reads the pickle without running code.

    Raises:
        InputError: if the file is missing, cut short or of another kind, or if a pickle holds
            anything but named tensors.
    """
    import torch
    from safetensors.torch import load_file

    with foreign(file, "cannot be read as tensors", remedy):
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(found, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in found.values()
    ):
        raise InputError(f"{file}: must hold tensors by name; {remedy}")
    return {str(name): value for name, value in found.items()}


def _is_device_memory(error: Exception) -> bool:
    # torch is not imported here, because `bothways --help` must answer without it.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
