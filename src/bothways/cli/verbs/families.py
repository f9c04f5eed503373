"""`bothways families`: the table of decoder families, measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import hold, say

NAME = "families"


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="model types to measure, for example llama qwen3; all if not given"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write", callback=hold)] = None,
    json: Json = False,
) -> None:
    """Prove or refuse every decoder family of transformers, on a small random model of each."""
    from bothways.atomic import atomic_file
    from bothways.backbone.family.families import measure_families, to_markdown

    rows = measure_families(names or None, progress=True)
    table = to_markdown(rows)
    say(table)
    if out is not None:
        with atomic_file(out) as part:
            part.write_text(table, encoding="utf-8")
        say(f"saved {out}")
    print_json({"families": rows, "out": out})
