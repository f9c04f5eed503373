"""Options that several verbs share, and the console they print to."""

from __future__ import annotations

from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, mps")]
DType = Annotated[str, typer.Option(help="auto (bfloat16 where the device computes it), float32, bfloat16, float16")]
Model = Annotated[str, typer.Argument(help="an encoder folder, or a base: hub id, folder, .gguf file, embedded name")]


def open_encoder(name: str, *, device: str, dtype: str, direction: str = "bidirectional", pooling: str = "mean"):  # noqa: ANN201
    """An encoder from whatever a user names: a finished encoder is loaded, a base model is converted."""
    from bothways.encoder.build import convert, is_encoder, load

    if is_encoder(name):
        return load(name, device=device, dtype=dtype)
    return convert(name, direction=direction, pooling=pooling, device=device, dtype=dtype)  # type: ignore[arg-type]


def say(text: str = "") -> None:
    """Print a line for people, with rich's markup off."""
    from rich.console import Console

    Console(highlight=False, markup=False, soft_wrap=True).print(text)
