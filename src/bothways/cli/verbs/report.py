"""`bothways report RESULTS… --out report.html`: results and training runs as one page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.options import hold, say

NAME = "report"


def command(
    results: Annotated[
        list[str], typer.Argument(help="results files, folders of them, folders of training runs; NAME=PATH names one")
    ],
    out: Annotated[Path, typer.Option(help="the HTML file", callback=hold)],
    baseline: Annotated[str | None, typer.Option(help="model that differences are taken from; the first one")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the bootstrap")] = 0,
) -> None:
    """Write one self-contained HTML page: scores, differences with intervals, training curves, geometry, examples."""
    from bothways.report.page import write_report

    write_report(results, out, baseline=baseline, seed=seed)
    say(f"saved {out}")
