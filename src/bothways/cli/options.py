"""Options that several verbs share, and the console they print to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bothways.errors import InputError
from bothways.printable import printable

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, mps")]
DType = Annotated[str, typer.Option(help="auto (bfloat16 where the device computes it), float32, bfloat16, float16")]
Model = Annotated[str, typer.Argument(help="an encoder folder, or a base: hub id, folder, .gguf file, embedded name")]
Factor = Annotated[
    float | None,
    typer.Option(
        help="the whole stretch from the base's first training, where it has been stretched before; else found from --context",
        show_default=False,
    ),
]
BaseDirection = Annotated[str | None, typer.Option(help="for a base model: bidirectional (default) or causal")]
BasePooling = Annotated[
    str | None,
    typer.Option(
        help="for a base model: mean (default), weighted_mean, last, last_tokens, bos, max, first_last_avg, latent_attention, "
        "self_attention; for an encoder: one without parameters, in place of its own"
    ),
]


def open_encoder(name: str, *, device: str, dtype: str, direction: str | None = None, pooling: str | None = None) -> Encoder:
    """An encoder from whatever a user names: a finished encoder is loaded, a base model is converted.

    Raises:
        InputError: a direction for a finished encoder, which has its own, or a pooling that does not fit it.
    """
    from bothways.encoder.convert import convert, is_encoder
    from bothways.exports.graphs.exported import load

    if not is_encoder(name):
        chosen = {key: value for key, value in (("direction", direction), ("pooling", pooling)) if value is not None}
        return convert(name, device=device, dtype=dtype, **chosen)  # type: ignore[arg-type]
    if direction is not None:
        raise InputError(f"--direction {direction}: only for a base model; {name} is a finished encoder with its own direction")
    if pooling is None:
        return load(name, device=device, dtype=dtype)
    try:
        return load(name, pooling=pooling, device=device, dtype=dtype)
    except InputError as error:
        raise InputError(f"--pooling {pooling}: {str(error).removeprefix('pooling: ')}") from error


def assignments(given: Iterable[str]) -> dict[str, Any]:
    """`--option name=value` as values: each is YAML, so that numbers, true, null and lists are what they look like.

    Raises:
        InputError: no `=`, a name given twice, or no YAML.
    """
    from bothways.training.recipe.yaml_text import load_yaml

    found: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise InputError(f"--option {each}: expected name=value")
        if name in found:
            raise InputError(f"--option {name}: given twice; several values are one list, {name}=[a, b]")
        found[name] = load_yaml(text, where=f"--option {name}")
    return found


def hold(context: typer.Context, out: Path | None) -> Path | None:
    """Hold an output from the command's first moment to its last, so that a second writer is refused before it has worked.

    Raises:
        InputError: another process holds it.
        OutputError: nothing can be written there.
    """
    from bothways.locks import held

    if out is not None and not context.resilient_parsing:
        context.with_resource(held(out))
    return out


def first_process() -> bool:
    """Whether this process speaks for all that were launched together."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str = "") -> None:
    """Print a line for people, printable and with rich's markup off; of several processes (`accelerate launch`) the first does."""
    from rich.console import Console

    if not first_process():
        return
    Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(printable(text))
