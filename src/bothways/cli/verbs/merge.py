"""`bothways merge A B … --out DIR`: one encoder of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import say, say_next
from bothways.errors import InputError

NAME = "merge"


def command(
    models: Annotated[
        list[str],
        typer.Argument(
            help="encoder folders or hub ids of one architecture, or adapters of one base"
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder to write")],
    method: Annotated[
        str | None,
        typer.Option(
            help="soup (weighted mean), greedy (by --dev) or slerp (two models); greedy with --dev, else soup"
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="shares of a soup, for example 2,1,1; equal if not given")
    ] = None,
    t: Annotated[
        float, typer.Option(help="slerp: share of the way from the first model to the second")
    ] = 0.5,
    dev: Annotated[
        str | None, typer.Option(help="task that chooses, for example sts:dev.jsonl")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="base of adapters, if what they name cannot be reached")
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(
            help="write an adapter of a soup of adapters: cat (exact, ranks add up) or linear (rough, rank stays)"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Merge the weights of several encoders, and prove the result.

    The encoders may be seeds or stages of one training. They must agree in everything but their
    weights: architecture, pooling, tokenizer, prompts.
    """
    from bothways.merging.merge import merge

    encoder = merge(
        models,
        out,
        method=method,  # type: ignore[arg-type]
        weights=None if weights is None else _numbers(weights),
        t=t,
        dev=dev,
        base=base,
        adapter=adapter,  # type: ignore[arg-type]
    )
    facts = encoder.provenance["merge"]
    for parent in facts["parents"]:
        say(f"{parent['weight']:.3f}  {parent['name']}")
    if facts["dev"] is not None:
        say(f"{facts['dev']['metric']} {facts['dev']['merged']:.4f}")
    say(f"{out}: merged by {facts['method']}, and proved by the doctor")
    print_json({"out": out, **facts})
    say_next("bothways", "doctor", out)


def _numbers(written: str) -> list[float]:
    try:
        return [float(part) for part in written.split(",")]
    except ValueError:
        raise InputError(
            f"--weights {written!r}: expected numbers with commas between them, for example 2,1,1"
        ) from None
