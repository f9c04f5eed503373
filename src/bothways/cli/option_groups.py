"""Options that several commands share, declared once as a dataclass.

    @dataclass(frozen=True)
    class HeldOut:
        PANEL: ClassVar[str] = "Evaluation texts"
        without: Annotated[list[str] | None, typer.Option(help="evaluation set")] = None

    @flat
    def command(source: Source, held_out: HeldOut) -> None: ...

The command line then has `--without` under the heading "Evaluation texts", and the function gets a
`HeldOut`. Without `PANEL` the options stay in the main list of `--help`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_args, get_type_hints

from typer.models import ParameterInfo


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of the dataclasses among its parameters.

    Raises:
        ValueError: if two options have the same name.
    """
    flattened: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        kind = parameter.annotation
        if isinstance(kind, type) and is_dataclass(kind):
            groups[name] = kind
            flattened += _options(kind)
        else:
            flattened.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def run(**given: object) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    # typer reads both: the signature for the options, the annotations for their types
    vars(run)["__signature__"] = inspect.Signature(flattened)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in flattened}
    return run


def _options(kind: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        _option(field, hints[field.name], getattr(kind, "PANEL", None)) for field in fields(kind)
    ]


def _option(field: Field[Any], annotation: object, panel: str | None) -> inspect.Parameter:
    value, info = get_args(annotation)
    assert isinstance(info, ParameterInfo)
    if panel is not None:
        info = copy(info)
        info.rich_help_panel = panel
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if field.default is MISSING else field.default,
        annotation=Annotated[value, info],
    )
