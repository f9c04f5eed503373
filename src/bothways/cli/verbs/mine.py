"""`bothways mine ROWS… --with bm25|MODEL|hybrid:MODEL --out FILE`: find hard negatives."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bothways.cli.mining_options import (
    CorpusOptions,
    PromptOptions,
    SearchOptions,
    SelectionOptions,
    WorkOptions,
    method_of,
)
from bothways.cli.option_groups import flat
from bothways.cli.options import console
from bothways.cli.prepare_options import (
    HeldOutOptions,
    LayoutOptions,
    OutputOptions,
    SourceArguments,
    account_line,
)
from bothways.errors import InputError
from bothways.printable import printable

if TYPE_CHECKING:
    from bothways.mining.mine import Mined
    from bothways.mining.sample import Sample, Seen

NAME = "mine"

_SHOWN = 8  # filtered documents of a sampled row that are printed
_WIDTH = 88  # characters of a text


@flat
def command(
    sources: SourceArguments,
    output: OutputOptions,
    with_: Annotated[
        str,
        typer.Option(
            "--with", help="bm25, an encoder or base model, or hybrid:MODEL (both rankings, fused)"
        ),
    ],
    selection: SelectionOptions,
    corpus: CorpusOptions,
    layout: LayoutOptions,
    prompts: PromptOptions,
    held_out: HeldOutOptions,
    search: SearchOptions,
    work: WorkOptions,
    sample: Annotated[
        int,
        typer.Option(
            min=0, help="rows to print in full, with the documents that were left out and why"
        ),
    ] = 3,
) -> None:
    """Find negatives that are hard but are not true answers, and write rows that `train` reads.

    Negatives of an encoder come with their scores.
    """
    from bothways.mining.mine import mine
    from bothways.mining.work_folder import remove_work

    method, model = method_of(with_)
    options = selection.options(method, search)  # refuses bad values before anything is read
    corpus.check()
    search.check(model)
    folder = work.folder(output.out)
    rows = layout.read(sources)
    documents = corpus.read()
    held = held_out.read()
    with search.opened(model) as encoder:
        mined = mine(
            rows,
            documents,
            options,
            encoder=encoder,
            without=held,
            batch_tokens=search.batch_tokens,
            sample=sample,
            work=folder,
            progress=True,
            **asdict(prompts),
        )
    _finish(mined, output)
    if not work.keep:
        remove_work(folder)


def _finish(mined: Mined, output: OutputOptions) -> None:
    if not mined.examples:
        raise InputError(f"no row has a negative: {account_line(mined.statistics)}")
    output.write(mined.examples, mined.statistics)
    for each in mined.samples:
        _show(each)
    output.report(mined.statistics)


def _show(sample: Sample) -> None:
    """Print one row with its positives, negatives and documents that were left out."""
    from rich.table import Table
    from rich.text import Text

    heading = f"row {sample.row + 1}" + (f", {_short(sample.task)}" if sample.task else "")
    title = Text(f"{heading}: {_short(sample.query)}")
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for name, side in (("", "left"), ("score", "right"), ("rank", "right"), ("text", "left")):
        table.add_column(name, justify=side, no_wrap=name != "text")  # type: ignore[arg-type]

    def add(kind: str, seen: Seen) -> None:
        text = (
            f"{_short(seen.text)} [{printable(seen.reason)}]" if seen.reason else _short(seen.text)
        )
        table.add_row(kind, f"{seen.score:.4f}", str(seen.rank) if seen.rank else "", Text(text))

    for seen in sample.positives:
        add("positive", seen)
    for seen in sample.negatives:
        add("negative", seen)
    for seen in sample.filtered[:_SHOWN]:
        add("filtered", seen)
    shown = console()
    shown.print(table)
    more = len(sample.filtered) - _SHOWN
    shown.print(f"and {more} more filtered\n" if more > 0 else "")


def _short(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
