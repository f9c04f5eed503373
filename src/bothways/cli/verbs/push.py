"""`bothways push MODEL ORG/NAME`, and `bothways card MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.options import Device, say

NAME = "push"

Encoder = Annotated[Path, typer.Argument(help="folder of a finished encoder")]
License = Annotated[
    str | None, typer.Option("--license", help="for the card, as the hub writes it: apache-2.0, mit, other; else the base's")
]
Language = Annotated[
    list[str] | None, typer.Option(help="for the card: en, ko, multilingual; repeat for several; else the base's")
]
BaseName = Annotated[
    str | None, typer.Option("--base-model", help="for the card: the base's name on the hub, if it is not known")
]
ResultFiles = Annotated[
    list[Path] | None,
    typer.Option("--results", help="file of bothways evaluate --out, whose figures the card shows; repeat for several"),
]


def command(
    model: Encoder,
    name: Annotated[str, typer.Argument(metavar="ORG/NAME", help="repository on the hub; made if it does not exist")],
    private: Annotated[bool, typer.Option("--private", help="make it private; stop if it exists and is public")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check all and list the files; send nothing")] = False,
    revision: Annotated[str | None, typer.Option(help="branch; made if it does not exist; else the main one")] = None,
    message: Annotated[str | None, typer.Option(help="of the commit")] = None,
    license: License = None,
    language: Language = None,
    base_model: BaseName = None,
    results: ResultFiles = None,
    include: Annotated[list[str] | None, typer.Option(help="further files of the folder, for example '*.png'")] = None,
    device: Device = "auto",
) -> None:
    """Upload a finished encoder and its card to the hub, after the doctor has proved it.

    Only the files of the encoder go up. Checkpoints, logs and whatever else lies in the folder stay, and paths of this machine are taken
    out of bothways.json. The token comes from HF_TOKEN, or from hf auth login.
    """
    from bothways.publishing.push import push

    upload = push(
        model,
        name,
        private=private,
        revision=revision,
        message=message,
        dry_run=dry_run,
        license=license,
        language=language or (),
        base_model=base_model,
        results=results or (),
        include=include or (),
        device=device,
    )
    if dry_run:
        for file, size in upload.files:
            say(f"{size:>14,}  {file}")
    for file in upload.left_out:
        say(f"{'stays here':>14}  {file}")
    for file in upload.removed:
        say(f"{'removed there':>14}  {file}")
    count = f"{len(upload.files)} files, {upload.size:,} bytes"
    say(f"dry run, nothing was sent: {count} for {name}" if dry_run else f"{upload.url}: {count}")


def card(
    model: Encoder,
    license: License = None,
    language: Language = None,
    base_model: BaseName = None,
    name: Annotated[str | None, typer.Option(help="the model's own name on the hub, ORG/NAME")] = None,
    results: ResultFiles = None,
    replace: Annotated[bool, typer.Option("--replace", help="also if somebody has changed the card")] = False,
) -> None:
    """Write the model card (README.md) of a saved encoder anew, with a license, languages and figures."""
    from bothways.publishing.cards import write_card

    written = write_card(
        model,
        license=license,
        language=language or (),
        base_model=base_model,
        name=name,
        results=results or (),
        replace=replace,
    )
    say(f"{written}: written")
