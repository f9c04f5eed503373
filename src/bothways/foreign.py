"""The one door for files that other programs wrote: models, tokenizers, adapters, settings, and files that damage has reached.

Libraries raise whatever they like on a broken file: plain `Exception` (tokenizers), `SafetensorError`, `UnpicklingError`,
`struct.error`, `RecursionError`, `ZeroDivisionError`. Behind this door all of it is one bounded line that names the file and the
remedy, so that a person reads a sentence and not a traceback. The original exception stays attached (`__cause__`), and
`bothways --debug …` shows it.

Three things pass as they are: the project's own errors, Ctrl-C, and a GPU that is out of memory (its callers try smaller passes).
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

Value = TypeVar("Value")

LIMIT = 300
"""Characters of another program's message that an error line repeats."""

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
    """Turn every exception inside the block into one line: place, what failed, why, and the remedy.

    Args:
        place: the file or folder that is read; opens the line.
        what: what failed.
        remedy: what to do about it; "" for none.
        kind: class of the error.
        reason: makes everything after the place from the exception, in place of `what` and `remedy`.

    Raises:
        BothwaysError: of `kind`.
    """
    try:
        yield
    except BothwaysError:
        raise
    except Exception as error:
        if _is_device_memory(error):
            raise
        said = reason(error) if reason is not None else f"{what} ({why(error)}){f'; {remedy}' if remedy else ''}"
        raise kind(f"{place}: {said}") from error


def why(error: Exception) -> str:
    """What an exception says, on one line of at most LIMIT characters; its class where it says nothing."""
    if isinstance(error, KeyError):
        return f"{error} is missing" if len(str(error)) < LIMIT else "a key is missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = one_line(str(error))
    # a library's own class says what was tried where the text does not ("Exception", "KeyError" say nothing)
    return (
        text if text and type(error).__name__ in ("Exception", "JSONDecodeError") else f"{type(error).__name__}: {text}"[:LIMIT]
    )


def one_line(text: str, limit: int = LIMIT) -> str:
    """`text` with white space joined, control characters left out, and cut at `limit` characters."""
    plain = "".join(each for each in " ".join(text.split()) if each.isprintable())
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def read_json(file: Path, default: Value | None = None, *, remedy: str = REMEDY) -> Any:
    """The JSON value in a file of another program.

    Args:
        file: the file.
        default: the value where there is no such file; without one its absence is an error.
        remedy: what to do about a broken file.

    Raises:
        InputError: missing, unreadable, not UTF-8, or not JSON (which includes nesting and numbers that Python refuses).
    """
    if default is not None and not file.exists():
        return default
    with foreign(file, "cannot be read as JSON", remedy):
        return json.loads(file.read_text(encoding="utf-8"))


def read_object(file: Path, default: Mapping[str, Any] | None = None, *, remedy: str = REMEDY) -> dict[str, Any]:
    """The JSON object in a file of another program; arguments as `read_json`.

    Raises:
        InputError: as `read_json`, and where the value is not an object.
    """
    value = read_json(file, default, remedy=remedy)
    if not isinstance(value, Mapping):
        raise InputError(f"{file}: must hold a JSON object, and holds a {json_type(value)}; {remedy}")
    return dict(value)


def json_type(value: Any) -> str:
    """What JSON calls a value's type."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def positive(value: Any, where: str) -> int:
    """`value` as a whole number of at least 1; 512.0 is one too.

    Raises:
        InputError: anything else; the line opens with `where`.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value != int(value) or value < 1:
        raise InputError(f"{where} must be a whole number of at least 1, and is {one_line(repr(value), 60)}")
    return int(value)


def read_tensors(file: Path, *, remedy: str = REMEDY) -> dict[str, Tensor]:
    """Tensors by name from a .safetensors file, or from a pickled one (.bin, .pt), which torch reads without running code.

    Raises:
        InputError: missing, cut short, not of its kind, or a pickle that holds anything but named tensors.
    """
    import torch
    from safetensors.torch import load_file

    with foreign(file, "cannot be read as tensors", remedy):
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise InputError(f"{file}: must hold tensors by name; {remedy}")
    return {str(name): value for name, value in found.items()}


def _is_device_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")  # not imported here: `bothways --help` answers without it
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
