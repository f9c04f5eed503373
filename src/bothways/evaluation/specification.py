"""The specification of a task: `KIND[:ARGUMENT][?option=value&option=value…]`.

The syntax is that of a query in a web address, and the same for all kinds. Only this file parses
it. A kind declares its options as the keyword-only parameters of its `from_argument`, and their
annotations say how a value is read. So the options that a user writes, a programmer passes and an
error message lists are the same. In a value, write `&` as `%26` and `%` as `%25`. Nothing else is
special.

For example, `sts:stsb/dev.jsonl?aggregation=mean&prompt=Retrieve similar text: `.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from bothways.errors import InputError
from bothways.nearest import did_you_mean, meant

FORM = "KIND[:ARGUMENT][?option=value&option=value]"
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Specification:
    """A parsed specification.

    Attributes:
        kind: the word before the colon.
        argument: the text after the colon, usually a path. None without a colon.
        options: values by option, as text with percent signs resolved.
    """

    kind: str
    argument: str | None
    options: dict[str, str] = field(default_factory=dict)


def parse_specification(spec: str) -> Specification:
    """Split `spec` at the first `?` into argument and options, and before it at the first `:`.

    For example, `sts:dev.tsv?split=dev` has the kind "sts", the argument "dev.tsv" and the options
    `{"split": "dev"}`.

    Raises:
        InputError: if an option is not `name=value`, or is written twice.
    """
    head, mark, tail = spec.partition("?")
    kind, colon, argument = head.partition(":")
    options: dict[str, str] = {}
    for piece in tail.split("&") if mark else ():
        name, equals, value = piece.partition("=")
        if not equals or not name:
            raise InputError(
                f"task {spec!r}: {piece!r} is not an option; write {FORM} (and '&' inside a value as %26)"
            )
        if name in options:
            raise InputError(f"task {spec!r}: option {name!r} is written twice")
        options[name] = unquote(value)
    return Specification(kind, argument if colon else None, options)


def options_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotation of every keyword-only parameter of `factory`, by name.

    These are the options of a kind. A parameter whose type is a dataclass stands for its fields.
    For example, `options_of(Prefix.from_argument)` is empty.
    """
    options: dict[str, Any] = {}
    for name, hint in _annotations(factory).items():
        options.update(get_type_hints(hint) if is_dataclass(hint) else {name: hint})
    return options


def arguments_of(factory: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of `factory` for values by option, see `options_of`.

    For example, `{"split": "dev", "precision": "int8"}` becomes `{"split": "dev", "quantization":
    Quantization("int8")}` for a factory with a parameter `quantization` of this class.
    """
    given = dict(values)
    for name, hint in _annotations(factory).items():
        if is_dataclass(hint):
            fields = get_type_hints(hint)
            own = {field: given.pop(field) for field in fields if field in given}
            if own:
                given[name] = hint(**own)  # type: ignore[operator]
    return given


def _annotations(factory: Callable[..., Any]) -> dict[str, Any]:
    names = [
        p.name for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    hints = get_type_hints(factory) if names else {}
    return {name: hints.get(name, str) for name in names}


def read_options(spec: str, given: dict[str, str], known: dict[str, Any]) -> dict[str, Any]:
    """Convert written values to the types of their annotations.

    Args:
        spec: the specification, for error messages.
        given: values by option, as text. For example, `{"k": "10,100"}`.
        known: annotations by option, see `options_of`. For example, `{"k": tuple[int, ...]}`.

    Returns:
        Values by option. For the examples above, `{"k": (10, 100)}`.

    Raises:
        InputError: if an option is unknown, or if a value cannot be read as its type.
    """
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            hint = meant(name, known)
            raise InputError(
                f"task {spec!r}: unknown option {name!r}; {hint}options here: {', '.join(known) or 'none'}"
            )
        if not text.strip() and not name.endswith("prompt"):
            raise InputError(f"task {spec!r}: {name} is empty; give it a value, or leave it out")
        try:
            values[name] = _read(known[name], text)
        except ValueError:
            raise InputError(
                f"task {spec!r}: {name} must be {_wanted(known[name])} (got {text!r}){_near(known[name], text)}"
            ) from None
    return values


def _near(annotation: object, text: str) -> str:
    """Offer the nearest of the names that an option takes, if it takes names."""
    names = [
        name
        for member in _members(annotation)
        if get_origin(member) is Literal
        for name in get_args(member)
    ]
    return did_you_mean(text, names)


def _members(annotation: object) -> tuple[Any, ...]:
    """Return the alternatives of a union, or the annotation itself if it is not a union.

    None is left out, because a user leaves out the option instead.
    """
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(member for member in get_args(annotation) if member is not type(None))
    return (annotation,)


def _read(annotation: object, text: str) -> object:
    for member in _members(annotation):
        try:
            return _read_one(member, text)
        except ValueError:
            continue
    raise ValueError(text)


def _read_one(annotation: object, text: str) -> object:
    if get_origin(annotation) is Literal:
        if text not in get_args(annotation):
            raise ValueError(text)
        return text
    if get_origin(annotation) is tuple:
        return tuple(_read_one(get_args(annotation)[0], part) for part in text.split(","))
    if annotation is bool:
        if text not in _TRUTH:
            raise ValueError(text)
        return _TRUTH[text]
    if annotation is float and not math.isfinite(float(text)):
        raise ValueError(text)  # nan and inf are not valid for any option
    return annotation(text) if annotation in (int, float) else text


def _wanted(annotation: object) -> str:
    return " or ".join(_wanted_one(member) for member in _members(annotation))


def _wanted_one(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return (
            "one of " + ", ".join(get_args(annotation))
            if len(get_args(annotation)) > 1
            else repr(get_args(annotation)[0])
        )
    if get_origin(annotation) is tuple:
        return f"{_wanted_one(get_args(annotation)[0])}, or several with commas between them"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(
        annotation, "a text"
    )
