"""`bothways push MODEL ORG/NAME`, and `bothways card MODEL`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.option_groups import flat
from bothways.cli.options import Device, say, say_next

NAME = "push"

EncoderFolder = Annotated[
    Path, typer.Argument(help="folder of a finished encoder, or of bothways export")
]


@dataclass(frozen=True)
class CardFields:
    """The parts of a model card that the encoder's folder may not tell."""

    license: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="for the card, as the hub writes it: apache-2.0, mit, other; the base's license if not given",
        ),
    ] = None
    language: Annotated[
        list[str] | None,
        typer.Option(
            help="for the card: en, ko, multilingual; repeat for several; the base's languages if not given"
        ),
    ] = None
    base_model: Annotated[
        str | None,
        typer.Option(
            "--base-model",
            help="for the card: name of the base on the hub, needed only if it is not known",
        ),
    ] = None
    results: Annotated[
        list[Path] | None,
        typer.Option(
            "--results",
            help="file of bothways evaluate --out, to show its scores on the card; repeat for several",
        ),
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `push` and `write_card`."""
        return {
            "license": self.license,
            "language": self.language or (),
            "base_model": self.base_model,
            "results": self.results or (),
        }


@flat
def command(
    model: EncoderFolder,
    name: Annotated[
        str,
        typer.Argument(
            metavar="ORG/NAME", help="repository on the hub; it is created if it does not exist"
        ),
    ],
    *,
    private: Annotated[
        bool,
        typer.Option(
            "--private", help="create a private repository; stop if it exists and is public"
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check everything and list the files; send nothing")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option(
            help="branch, which is created if it does not exist; the main one if not given"
        ),
    ] = None,
    message: Annotated[str | None, typer.Option(help="message of the commit")] = None,
    fields: CardFields,
    include: Annotated[
        list[str] | None,
        typer.Option(help="more files to upload, for example '*.png'; repeat for several"),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Upload a finished encoder or an export and its card to the hub, after it has been proved.

    Only the files of the encoder are uploaded. Checkpoints, logs and other files in the folder are
    not, and paths of this machine are removed from bothways.json. The token comes from HF_TOKEN, or
    from hf auth login.
    """
    from bothways.publishing.push import push

    upload = push(
        model,
        name,
        private=private,
        revision=revision,
        message=message,
        dry_run=dry_run,
        include=include or (),
        device=device,
        **fields.arguments(),
    )
    if dry_run:
        for file, size in upload.files:
            say(f"{size:>14,}  {file}")
    for file in upload.left_out:
        say(f"{'not uploaded':>14}  {file}")
    for file in upload.removed:
        say(f"{'removed there':>14}  {file}")
    count = f"{len(upload.files)} files, {upload.size:,} bytes"
    say(f"dry run, nothing was sent: {count} for {name}" if dry_run else f"{upload.url}: {count}")
    print_json({"dry_run": dry_run, **asdict(upload)})
    if dry_run:
        say_next("bothways", "push", model, name, *(["--private"] if private else []))
    else:
        say_next("bothways", "search", name, "FILE", "a question")


@flat
def card(
    model: EncoderFolder,
    fields: CardFields,
    name: Annotated[
        str | None, typer.Option(help="name of this model on the hub, ORG/NAME")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="replace a card that somebody has changed")
    ] = False,
    json: Json = False,
) -> None:
    """Write the model card (README.md) again, with a license, languages and scores."""
    from bothways.publishing.cards import write_card

    written = write_card(model, name=name, replace=replace, **fields.arguments())
    say(f"{written}: written")
    print_json({"out": written})
    say_next("bothways", "push", model, name or "ORG/NAME", "--dry-run")
