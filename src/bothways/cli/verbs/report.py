"""`bothways report RESULTS… --out report.html`: show results and training runs on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import hold, say

NAME = "report"


def command(
    results: Annotated[
        list[str],
        typer.Argument(
            help="results files, folders of results, or folders of training runs; NAME=PATH gives one a name"
        ),
    ],
    out: Annotated[Path, typer.Option(help="HTML file to write", callback=hold)],
    baseline: Annotated[
        str | None,
        typer.Option(help="model that the others are compared with; the first one if not given"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of the bootstrap")] = 0,
    json: Json = False,
) -> None:
    """Write one self-contained HTML page of results.

    It shows scores, differences with intervals, training curves, geometry and examples.
    """
    from bothways.report.page import summary, write_report

    write_report(results, out, baseline=baseline, seed=seed)
    sentence = summary(results, baseline=baseline, seed=seed)
    if sentence:
        say(sentence)
    print_json({"out": out, "sentence": sentence})
    say(f"saved {out}; open it in a browser")
