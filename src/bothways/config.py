"""Typed configuration: unknown keys and wrong types are errors that name the dotted path."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bothways.errors import InputError

Direction = Literal["bidirectional", "causal"]
DType = Literal["auto", "float32", "bfloat16", "float16"]

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Base of every config: frozen, unknown keys refused, no coercion of strings to numbers beyond pydantic's JSON rules."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def parse(kind: type[Model], values: Mapping[str, Any], *, where: str) -> Model:
    """Validate `values` as `kind`; raise InputError naming the first wrong dotted path.

    Args:
        kind: the config class.
        values: plain nested mapping, as read from YAML or JSON.
        where: what is being read, e.g. a file name; opens the error line.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error, kind)}") from None


def explain(error: ValidationError, kind: type[BaseModel]) -> str:
    """One line for the first problem in a pydantic error, with a suggestion for misspelt keys."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), _field_names(kind), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown key {path!r}{hint}"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool, type(None))) else ""
    return f"{path}: {message}{shown}" if path else message


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
