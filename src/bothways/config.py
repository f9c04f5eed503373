"""Typed configuration: unknown keys and wrong types are errors that name the dotted path."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bothways.errors import InputError

Direction = Literal["bidirectional", "causal"]
Layers = Literal["last", "first_last"]
"""States that a pooling reads: the last layer's, or the mean of the first and the last layer's."""
DType = Literal["auto", "float32", "bfloat16", "float16"]

Model = TypeVar("Model", bound=BaseModel)


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

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _plausible(cls, values: Any) -> Any:
        # This cannot be a validator of all fields: pydantic does not allow one before the `kind` of
        # a union.
        for name, field in cls.model_fields.items() if isinstance(values, Mapping) else ():
            given = values.get(name)
            for each in given if isinstance(given, (list, tuple)) else (given,):
                if isinstance(each, bool) and not _takes(field.annotation, bool) and _takes(field.annotation, int, float):
                    raise _Implausible(name, f"expected a number, not {str(each).lower()}")
                largest = _ANY_NUMBER.get(name, LARGEST)
                if isinstance(each, int) and abs(each) > largest:
                    raise _Implausible(name, f"a number of about 10^{int(math.log10(abs(each)))}; at most {largest:,}")
        return values


class _Implausible(ValueError):
    """A value that is impossible for its kind of field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _takes(annotation: Any, *kinds: type) -> bool:
    """Tell if one of the types occurs anywhere in an annotation."""
    return annotation in kinds or any(_takes(part, *kinds) for part in getattr(annotation, "__args__", ()))


def parse(kind: type[Model], values: Mapping[str, Any], *, where: str) -> Model:
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
        near = difflib.get_close_matches(str(first["loc"][-1]), _field_names(kind), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown key {path!r}{hint}"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (got {_short(given)})" if isinstance(given, (str, int, float, bool, type(None))) else ""
    return f"{path}: {message}{shown}" if path else message


def _short(value: Any) -> str:
    """Write a value for a one-line message."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a very large number"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _field_names(kind: type[BaseModel]) -> list[str]:
    names: list[str] = []
    pending: list[Any] = [kind]
    seen: set[Any] = set()
    while pending:
        item = pending.pop()
        if item in seen:
            continue
        seen.add(item)
        if isinstance(item, type) and issubclass(item, BaseModel):
            names.extend(item.model_fields)
            pending.extend(field.annotation for field in item.model_fields.values())
        else:
            pending.extend(getattr(item, "__args__", ()))
    return names
