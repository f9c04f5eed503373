"""`bothways doctor MODEL`: prove that a model does what it claims. If not, exit with code 1."""

from __future__ import annotations

from typing import Annotated

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import BaseDirection, Device, Model, Quantize, open_encoder, say
from bothways.printable import printable_line

NAME = "doctor"


def command(
    model: Model,
    direction: BaseDirection = None,
    quick: Annotated[
        bool, typer.Option(help="skip the checks of checkpointing and adapters")
    ] = False,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="float32 gives the strictest proof")] = "float32",
    quantize: Quantize = None,
    graph: Annotated[
        str,
        typer.Option(
            help="openvino: also prove the graph that computes short requests, which is made if it is not in the cache; none"
        ),
    ] = "none",
    json: Json = False,
) -> None:
    """Prove that a model reads in the direction that it claims.

    It also proves that padding, batching, packing, gradient checkpointing and adapters do not
    change the vectors. Notes say how other loaders treat the folder.
    """
    from bothways.encoder.folder.write import loader_notes
    from bothways.encoder.proof.doctor import doctor
    from bothways.errors import DirectionError

    try:
        encoder = open_encoder(
            model,
            device=device,
            dtype=dtype,
            direction=direction,
            quantize=quantize,
            graph=graph,
            now=True,
        )
        diagnosis = doctor(encoder, quick=quick)
    except DirectionError as error:  # raised while loading, but a failed proof like any other
        say(f"FAIL  {printable_line(error)}")
        print_json(
            {"model": model, "ok": False, "error": printable_line(error), "notes": [], "checks": []}
        )
        raise typer.Exit(1) from None
    notes = loader_notes(encoder)
    for note in notes:
        say(f"note  {note}")
    say(str(diagnosis))
    print_json({"model": model, "ok": diagnosis.ok, "notes": notes, "checks": diagnosis.checks})
    if not diagnosis.ok:
        raise typer.Exit(1)
