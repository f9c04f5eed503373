"""Typed configuration: unknown keys and wrong types are errors that name the dotted path."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bothways.errors import InputError
from bothways.moved import old_names
from bothways.nearest import did_you_mean, nearest

Direction = Literal["bidirectional", "causal"]
PooledLayers = Literal["last", "first_last"]
"""States that a pooling reads: the last layer's, or the mean of the first and the last layer's."""
DType = Literal["auto", "float32", "bfloat16", "float16"]

_Model = TypeVar("_Model", bound=BaseModel)


#: No size, count or length comes near this number. Larger ones are typing errors, and would end in
#: a lack of memory or never.
LARGEST = 10**9
#: Seeds may be any number that torch accepts.
_ANY_NUMBER = {"seed": 2**63 - 1}


class Strict(BaseModel):
    """The base of every config: frozen, with unknown keys refused.

    Strings are not converted to numbers beyond pydantic's JSON rules. Floats are finite. A whole
    number is at most `LARGEST`, a `seed` at most 2^63 - 1. `true` and `false` are not numbers.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _plausible(cls, values: Any) -> Any:
        # This cannot be a validator of all fields: pydantic does not allow one before the `kind` of
        # a union.
        for name, field in cls.model_fields.items() if isinstance(values, Mapping) else ():
            given = values.get(name)
            for each in given if isinstance(given, (list, tuple)) else (given,):
                if (
                    isinstance(each, bool)
                    and not _takes(field.annotation, bool)
                    and _takes(field.annotation, int, float)
                ):
                    raise _Implausible(name, f"expected a number, not {str(each).lower()}")
                largest = _ANY_NUMBER.get(name, LARGEST)
                if isinstance(each, int) and abs(each) > largest:
                    raise _Implausible(
                        name,
                        f"a number of about 10^{int(math.log10(abs(each)))}; at most {largest:,}",
                    )
        return values


class _Implausible(ValueError):
    """A value that is impossible for its kind of field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _takes(annotation: object, *kinds: type) -> bool:
    """Tell if one of the types occurs anywhere in an annotation."""
    return annotation in kinds or any(
        _takes(part, *kinds) for part in getattr(annotation, "__args__", ())
    )


def parse(kind: type[_Model], values: Mapping[str, Any], *, where: str) -> _Model:
    """Validate `values` as `kind`, or raise InputError with the first wrong dotted path.

    For example, a misspelled key raises "r.yaml: unknown key 'sede', did you mean 'seed'?".

    Args:
        kind: the config class.
        values: plain nested mapping, as read from YAML or JSON.
        where: the source of the values, for example a file name. The message starts with it.

    Raises:
        InputError: if a key is unknown or missing, or if a value does not fit.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error, kind)}") from None


def explain(error: ValidationError, kind: type[BaseModel]) -> str:
    """Describe the first problem of a pydantic error in one line, with the key that was meant."""
    return explain_first(error.errors()[0], kind)


def explain_first(first: Mapping[str, Any], kind: type[BaseModel]) -> str:
    """Describe one entry of pydantic's `errors()` of a `kind` in one line."""
    raised = first.get("ctx", {}).get("error")
    place = (*first["loc"], raised.field) if isinstance(raised, _Implausible) else first["loc"]
    path = ".".join(str(part) for part in place)
    if first["type"] == "extra_forbidden":
        near = _meant(first["loc"], kind)
        hint = f"; did you mean {near!r}?" if near else ""
        return f"unknown key {path!r}{hint}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "model_type":  # pydantic names the class
        message = "expected a mapping of keys, e.g. {key: value}"
    if first["type"] == "tuple_type":
        message = "expected a list, e.g. [one, another]"
    if first["type"] == "too_short":
        least, found = first["ctx"]["min_length"], first["ctx"]["actual_length"]
        message = "the list is empty" if found == 0 else f"the list has {found} of {least} items"
    if first["type"] == "literal_error":  # pydantic writes the names as 'a', 'b' or 'c'
        message += did_you_mean(
            first.get("input"), re.findall(r"'([^']+)'", first["ctx"]["expected"])
        )
    if first["type"] == "union_tag_invalid":
        tags = re.findall(r"'([^']+)'", first["ctx"]["expected_tags"])
        message += did_you_mean(first["ctx"]["tag"], tags)
    given = first.get("input")
    shown = (
        f" (got {_short(given)})" if isinstance(given, (str, int, float, bool, type(None))) else ""
    )
    return f"{path}: {message}{shown}" if path else message


def _short(value: object) -> str:
    """Write a value for a one-line message."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a very large number"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _meant(place: tuple[int | str, ...], kind: type[BaseModel]) -> str | None:
    """Return the key that was meant by an unknown one: its name if it is a sibling, else its path.

    For example, for `stages.0.steps` it is `stages.0.optim.steps`, and for `stages.0.optim.lrr` it
    is `lr`.
    """
    paths = sorted(_paths(kind))
    near = nearest(place[-1], sorted({path[-1] for path in paths}))
    if near is None:
        return None
    above = place[:-1]

    def shared(path: tuple[str, ...]) -> int:
        """Count the first steps that a path has in common with the place of the unknown key."""
        pairs = list(zip(path[:-1], above))
        return next(
            (n for n, (one, other) in enumerate(pairs) if one not in (_ITEM, other)), len(pairs)
        )

    best = max(
        (path for path in paths if path[-1] == near), key=lambda path: (shared(path), -len(path))
    )
    # pydantic adds the kind of a union's member to the place, as in stages.0.objective.mntp
    if len(best) - 1 == shared(best) and len(above) - shared(best) <= 1:
        # A key of another kind of objective has the name that was given.
        return best[-1] if best[-1] != place[-1] else None
    steps = [
        above[n] if step == _ITEM and n < shared(best) else step for n, step in enumerate(best)
    ]
    return ".".join(str(step) for step in steps)


_ITEM = "N"  # a place in a list


def _paths(
    kind: object, above: tuple[str, ...] = (), around: tuple[Any, ...] = ()
) -> set[tuple[str, ...]]:
    """Return the path of every field of a config class, with `N` for the items of a list."""
    found: set[tuple[str, ...]] = set()
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind not in around:
            for name, field in kind.model_fields.items():
                found.add((*above, name))
                found |= _paths(field.annotation, (*above, name), (*around, kind))
        return found
    items = getattr(kind, "__origin__", None) in (list, tuple, dict)
    for part in getattr(kind, "__args__", ()):
        found |= _paths(part, (*above, _ITEM) if items else above, around)
    return found


__getattr__ = old_names(__name__)
