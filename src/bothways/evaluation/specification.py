"""What a user writes for a task: `KIND[:ARGUMENT][?option=value&option=value…]`, the query syntax of a web address.

One syntax for all kinds, taken apart here and nowhere else. A kind declares its options as the keyword-only parameters of its
`from_argument`; their annotations say how the written value is read, so that the options a user may write, those a programmer may
pass and those an error message lists are one thing. In a value, `&` is written `%26` and `%` `%25`; nothing else is special.
"""

from __future__ import annotations

import difflib
import inspect
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from bothways.errors import InputError

FORM = "KIND[:ARGUMENT][?option=value&option=value]"
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Specification:
    """A specification taken apart.

    Attributes:
        kind: the word before the colon.
        argument: what stands behind it, mostly a path; None without a colon.
        options: values as written (percent signs resolved), by option.
    """

    kind: str
    argument: str | None
    options: dict[str, str] = field(default_factory=dict)


def parse(spec: str) -> Specification:
    """Take `spec` apart: options behind the first `?`, the argument behind the first `:` before it.

    Raises:
        InputError: an option that is not `name=value`, or one written twice.
    """
    head, mark, tail = spec.partition("?")
    kind, colon, argument = head.partition(":")
    options: dict[str, str] = {}
    for piece in tail.split("&") if mark else ():
        name, equals, value = piece.partition("=")
        if not equals or not name:
            raise InputError(f"task {spec!r}: {piece!r} is no option; write {FORM} (a '&' inside a value as %26)")
        if name in options:
            raise InputError(f"task {spec!r}: option {name!r} is written twice")
        options[name] = unquote(value)
    return Specification(kind, argument if colon else None, options)


def options_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """The annotation of every keyword-only parameter of `factory`, by name: the options of a kind."""
    names = [p.name for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY]
    hints = get_type_hints(factory) if names else {}
    return {name: hints.get(name, str) for name in names}


def read_options(spec: str, given: dict[str, str], known: dict[str, Any]) -> dict[str, Any]:
    """Written values as what the annotations in `known` ask for.

    Raises:
        InputError: an option that is not known, or a value that cannot be read as its type.
    """
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(f"task {spec!r}: unknown option {name!r}; {hint}options here: {', '.join(known) or 'none'}")
        if not text.strip() and not name.endswith("prompt"):
            raise InputError(f"task {spec!r}: {name} is empty; give it a value, or leave it out")
        try:
            values[name] = _read(known[name], text)
        except ValueError:
            raise InputError(f"task {spec!r}: {name} must be {_wanted(known[name])} (got {text!r})") from None
    return values


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, without None: an option is left out instead; the annotation itself where it is no union."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(member for member in get_args(annotation) if member is not type(None))
    return (annotation,)


def _read(annotation: Any, text: str) -> Any:
    for member in _members(annotation):
        try:
            return _read_one(member, text)
        except ValueError:
            continue
    raise ValueError(text)


def _read_one(annotation: Any, text: str) -> Any:
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
        raise ValueError(text)  # nan and inf, which no option means
    return annotation(text) if annotation in (int, float) else text


def _wanted(annotation: Any) -> str:
    return " or ".join(_wanted_one(member) for member in _members(annotation))


def _wanted_one(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(get_args(annotation)) if len(get_args(annotation)) > 1 else repr(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return f"{_wanted_one(get_args(annotation)[0])}, or several with commas between them"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(annotation, "a text")
