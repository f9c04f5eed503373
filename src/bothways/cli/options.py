"""Options that several verbs share, and printing to the console."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bothways.cli import completion
from bothways.cli.json_output import json_asked
from bothways.errors import InputError
from bothways.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from bothways.backbone.loading.model_source import Source
    from bothways.encoder.encoder import Encoder

POOLINGS = ", ".join(completion.POOLINGS)

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0 or mps")]
DType = Annotated[
    str,
    typer.Option(
        help="auto (bfloat16 if the device computes it, else float32), float32, bfloat16 or float16"
    ),
]
Model = Annotated[
    str,
    typer.Argument(
        help="an encoder folder, or a base model: hub id, folder, .gguf file or embedded name"
    ),
]
Quantize = Annotated[
    str | None,
    typer.Option(
        help="int8: compute in 8 bits on the CPU, for speed and memory; layers that 8 bits would hurt are found and kept",
        show_default=False,
    ),
]
Graph = Annotated[
    str,
    typer.Option(
        help="openvino: compute short requests in a graph, with the same vectors, which is made once and kept in the cache; "
        "auto: use one that was made before, if there are many short requests; none"
    ),
]
BatchTokens = Annotated[
    int | None, typer.Option(help="tokens of one forward pass; chosen for the device if not given")
]
ComparedBy = Annotated[
    str | None,
    typer.Option(
        help="how vectors are compared: cosine, dot, euclidean or manhattan; if not given, as the encoder's folder says "
        "(similarity_fn_name), else cosine",
        show_default=False,
    ),
]
Rope = Annotated[
    str | None,
    typer.Option(
        help="how --context stretches the positions: linear, yarn (the best without training afterwards) or dynamic; if not "
        "given, as the adapter or the base was stretched before, else linear",
        show_default=False,
    ),
]
Factor = Annotated[
    float | None,
    typer.Option(
        help="for a base that was stretched before: the whole factor since its first training; found from --context if not given",
        show_default=False,
    ),
]
BaseDirection = Annotated[
    str | None, typer.Option(help="for a base model: bidirectional (default) or causal")
]
BasePooling = Annotated[
    str | None,
    typer.Option(
        help=f"for a base model: {POOLINGS}; mean if not given; for an encoder: one without parameters, in place of its own"
    ),
]


def open_encoder(
    name: str | os.PathLike[str],
    *,
    device: str,
    dtype: str,
    direction: str | None = None,
    pooling: str | None = None,
    quantize: str | None = None,
    texts: Iterable[Any] | None = None,
    graph: str = "none",
    now: bool = False,
) -> Encoder:
    """Load a finished encoder, or convert a base model.

    Args:
        name: an encoder's folder or hub id, or a base. A `Source` is not looked up again.
        device: for example "cpu" or "cuda:0", or "auto".
        dtype: "auto", "float32", "bfloat16" or "float16".
        direction: for a base. If None, bidirectional.
        pooling: see `bothways.load`.
        quantize: see `bothways.load`. The account is printed.
        texts: for `quantize`, texts that will be encoded.
        graph: "none", "auto" or "openvino", see `use_graph`. A converted base can have one too.
        now: see `use_graph`.

    Raises:
        InputError: if a finished encoder is given a direction, which it already has, or a pooling
            that does not fit it. Also if it cannot be quantized, or cannot have the graph.
    """
    from bothways.backbone.loading.model_source import locate
    from bothways.encoder.int8 import quantize as int8
    from bothways.encoder.load import is_encoder
    from bothways.exports.graphs.exported import is_graph
    from bothways.exports.graphs.short.short_passes import (
        place_of,
        quantize_with_graph,
        use_graph,
    )

    source = locate(name)
    for option, value, remedy in (
        (
            f"--quantize {quantize}",
            quantize is not None,
            "which runs in the type it was written in; write it as int8 instead",
        ),
        (f"--graph {graph}", graph == "openvino", "which is a graph already; leave --graph out"),
    ):
        if value and is_encoder(source) and is_graph(source):
            raise InputError(f"{option}: {name} is an export, {remedy}")
    try:
        place, kind = place_of(graph, *int8.place(quantize, device, dtype))
        encoder = _open(source, str(place), str(kind), direction, pooling)
        if quantize is not None and graph == "openvino":
            say(str(quantize_with_graph(encoder, texts)))
            say(f"graph: {encoder.graph.account}")
        elif quantize is not None:
            say(str(int8.quantize(encoder, texts)))
        elif not is_graph(source):
            use_graph(encoder, graph, now=now)
    except InputError as error:
        raise InputError(re.sub(r"^(quantize|graph): ", r"--\1: ", str(error))) from error
    return encoder


def _open(
    name: Source, device: str, dtype: str, direction: str | None, pooling: str | None
) -> Encoder:
    from bothways.encoder.convert import convert
    from bothways.encoder.load import is_encoder
    from bothways.exports.graphs.exported import load

    if not is_encoder(name):
        chosen = {
            key: value
            for key, value in (("direction", direction), ("pooling", pooling))
            if value is not None
        }
        return convert(name, device=device, dtype=dtype, **chosen)  # type: ignore[arg-type]
    if direction is not None:
        raise InputError(
            f"--direction {direction}: only for a base model; {name} is a finished encoder with its own direction"
        )
    if pooling is None:
        return load(name, graph=None, device=device, dtype=dtype)
    try:
        return load(name, graph=None, pooling=pooling, device=device, dtype=dtype)
    except InputError as error:
        raise InputError(f"--pooling {pooling}: {str(error).removeprefix('pooling: ')}") from error


def assignments(given: Iterable[str]) -> dict[str, Any]:
    """Read the values of `--option name=value`.

    Each value is YAML. For example, `["steps=50", "data=[a, b]"]` gives
    `{"steps": 50, "data": ["a", "b"]}`.

    Raises:
        InputError: if there is no `=`, if a name occurs twice, or if a value is not YAML.
    """
    from bothways.training.recipe.yaml_text import load_yaml

    found: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise InputError(f"--option {each}: expected name=value")
        if name in found:
            raise InputError(
                f"--option {name}: given twice; several values are one list, {name}=[a, b]"
            )
        found[name] = load_yaml(text, where=f"--option {name}")
    return found


def passages_of(chunks: str) -> int | Literal["sentences"]:
    """Read `--chunks`: "sentences", or a number of tokens, for example 128 of "128".

    Raises:
        InputError: it is neither.
    """
    if chunks == "sentences":
        return "sentences"
    if not chunks.isdecimal() or int(chunks) < 1:
        raise InputError(
            f"--chunks {chunks}: must be sentences, or a number of tokens of at least 1"
        )
    return int(chunks)


def hold(context: typer.Context, out: Path | None) -> Path | None:
    """Lock an output until the command ends, so that a second writer is refused before it works.

    Raises:
        InputError: if another process has locked it.
        OutputError: if nothing can be written there.
    """
    from bothways.locks import held

    if out is not None and not context.resilient_parsing:
        context.with_resource(held(out))
    return out


def first_process() -> bool:
    """Return whether this process is the one that prints, of all that were launched together."""
    return os.environ.get("RANK", "0") == "0"


def console(**options: Any) -> Console:
    """Return rich's console for people, without markup.

    It writes to standard output, or with `--json` to standard error.

    Args:
        options: more options of rich's Console, for example `soft_wrap=True`.
    """
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, stderr=json_asked(), **options)


def say(text: str = "") -> None:
    """Print a line for people. With `--json` it goes to standard error.

    Of the processes of one launch (`accelerate launch`) only the first prints.
    """
    if first_process():
        console(soft_wrap=True).print(printable(text))


def say_next(*words: object) -> None:
    """Print the command to type next, as the last line of a verb that has written something.

    Args:
        words: the words of the command. Those with blanks and other signs of the shell are quoted.
            For example, say_next("bothways", "doctor", Path("runs/my model")).
    """
    say(f"next: {' '.join(shlex.quote(str(word)) for word in words)}")
