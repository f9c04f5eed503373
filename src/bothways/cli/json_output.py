"""`--json`: one JSON document on standard output, and everything else on standard error.

A verb that prints a table declares the option, and gives its result to `print_json`. While it runs,
`say` and the tables of rich go to standard error, so that a program can read the document alone:

    bothways evaluate runs/mine --task sts:test.jsonl --json | jq '.tasks[0].metrics'
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

_asked: ContextVar[bool] = ContextVar("bothways_json", default=False)


def _ask(context: typer.Context, value: bool) -> bool:
    if value and not context.resilient_parsing:
        token = _asked.set(True)
        context.call_on_close(lambda: _asked.reset(token))
    return value


Json = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=_ask,
        is_eager=True,
        help="print one JSON document; everything else goes to standard error",
    ),
]


def start() -> None:
    """Forget an earlier command line of this process, also one with a mistake after `--json`."""
    _asked.set(False)


def json_asked() -> bool:
    """Tell if the running verb was given `--json`."""
    return _asked.get()


def print_json(document: Mapping[str, Any]) -> None:
    """Print a result as one JSON document on standard output, if `--json` was given.

    Args:
        document: the result. Paths become text, dataclasses become objects, and a number that is
            not finite becomes null, because JSON does not have it.
    """
    if json_asked():
        typer.echo(json.dumps(plain(document), ensure_ascii=False, indent=2, allow_nan=False))


def plain(value: object) -> object:
    """Return a value as JSON can hold it.

    For example, plain({"score": float("nan"), "file": Path("a")}) is {"score": None, "file": "a"}.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy and torch
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
