"""`bothways mine EXAMPLES… --with bm25|MODEL|hybrid:MODEL --out FILE`: hard negatives for training rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bothways.cli.options import Device, DType, open_encoder, say
from bothways.cli.prepare_options import Near, NearBy, Out, Sources, Summary, Without, evaluation_texts
from bothways.errors import InputError
from bothways.printable import printable

if TYPE_CHECKING:
    from bothways.mining.mine import Mined
    from bothways.mining.sample import Sample, Seen

NAME = "mine"

_SHOWN = 8  # filtered documents of a sampled row that are printed
_WIDTH = 88  # characters of a text


def command(
    sources: Sources,
    out: Out,
    with_: Annotated[str, typer.Option("--with", help="bm25, an encoder or base model, or hybrid:MODEL (both, fused)")],
    corpus: Annotated[
        str | None,
        typer.Option(
            help="texts, documents with titles (BEIR, Tevatron) or labelled rows; by default the examples' own, task by task"
        ),
    ] = None,
    column: Annotated[str | None, typer.Option(help="column of the corpus that holds the text")] = None,
    negatives: Annotated[int, typer.Option(help="per row at most")] = 7,
    window: Annotated[
        str, typer.Option(help="FIRST:LAST rank looked at, known answers not counted; auto: 2:100 with bm25, else 1:100")
    ] = "auto",
    perc: Annotated[
        str,
        typer.Option(help="negatives score below this share of the lowest positive's score, or none; auto: 0.95 for cosines"),
    ] = "auto",
    fill: Annotated[
        str, typer.Option(help="where fewer pass: random (texts of the corpus) or none; auto: random with bm25")
    ] = "auto",
    margin: Annotated[float | None, typer.Option(help="and so much below the lowest positive's score")] = None,
    relative_margin: Annotated[float | None, typer.Option(help="0.05 is --perc 0.95; the lower limit holds")] = None,
    max_score: Annotated[float | None, typer.Option(help="and below this score")] = None,
    sampling: Annotated[str, typer.Option(help="top (the hardest) or random (of all that pass)")] = "top",
    seed: Annotated[int, typer.Option(help="of random sampling and of the printed sample")] = 0,
    empty: Annotated[str, typer.Option(help="rows without a negative: keep or drop")] = "keep",
    same_label: Annotated[bool, typer.Option(help="texts of one task and label are no negatives of each other")] = True,
    query_prompt: Annotated[str | None, typer.Option(help="before every query, in place of the rows' or the model's")] = None,
    document_prompt: Annotated[str | None, typer.Option(help="before every document")] = None,
    dialect: Annotated[str | None, typer.Option(help="the examples' layout, instead of telling it from the columns")] = None,
    task: Annotated[str | None, typer.Option(help="name of the task, which each row carries; by default the rows'")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="of each source, the first examples only")] = None,
    template: Annotated[str, typer.Option(help="how an instruction in a row is written, see `bothways prepare`")] = "nv_embed",
    without: Without = None,
    near: Near = None,
    near_by: NearBy = "jaccard",
    backend: Annotated[str, typer.Option(help="of vectors: exact (bounded memory) or faiss")] = "exact",
    store: Annotated[str, typer.Option(help="vectors on disk: float32 or float16")] = "float32",
    sample: Annotated[int, typer.Option(min=0, help="rows to print in full, with what was filtered and why")] = 3,
    summary: Summary = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue what a stopped run left in OUT.mining")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="leave vectors in OUT.mining, for other limits with --resume")] = False,
    batch_tokens: Annotated[int | None, typer.Option(help="tokens per pass; chosen for the device")] = None,
    device: Device = "auto",
    dtype: DType = "auto",
) -> None:
    """Mine negatives that are hard and not true answers; write rows that `train` reads, with an encoder's scores."""
    from bothways.data.labeled.labeled_reader import read_examples
    from bothways.mining.corpus import read_corpus
    from bothways.mining.mine import mine
    from bothways.mining.options import MiningOptions
    from bothways.mining.work_folder import remove_work

    method, model = _method(with_)
    choices: dict[str, Any] = {
        "method": method,
        "negatives": negatives,
        "window": _window(window),
        "perc": _perc(perc),
        "margin": margin,
        "relative_margin": relative_margin,
        "max_score": max_score,
        "sampling": sampling,
        "seed": seed,
        "fill": fill,
        "empty": empty,
        "same_label": same_label,
        "backend": backend,
        "store": store,
    }
    MiningOptions(**choices)  # before anything is read
    if column is not None and corpus is None:
        raise InputError("--column: names a column of --corpus, which is not given")
    work = _work(out, resume=resume)
    rows = [
        row for source in sources for row in read_examples(source, dialect=dialect, task=task, limit=limit, template=template)
    ]
    texts = None if corpus is None else list(read_corpus(corpus, column=column))
    held = evaluation_texts(without, near, near_by)
    mined = mine(
        rows,
        texts,
        encoder=None if model is None else open_encoder(model, device=device, dtype=dtype),
        without=held,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        batch_tokens=batch_tokens,
        sample=sample,
        work=work,
        progress=True,
        **choices,
    )
    _finish(mined, out, summary)
    if not keep:
        remove_work(work)


def _method(text: str) -> tuple[str, str | None]:
    if text == "bm25":
        return "bm25", None
    if text.startswith("hybrid:"):
        model = text.removeprefix("hybrid:")
        if not model:
            raise InputError("--with hybrid: names no model; expected hybrid:MODEL")
        return "hybrid", model
    return "dense", text


def _window(text: str) -> tuple[int, int] | str:
    if text == "auto":
        return text
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal()):
        raise InputError(f"--window {text}: expected FIRST:LAST, two ranks from 1, e.g. 2:100")
    return int(first), int(last)


def _perc(text: str) -> float | str | None:
    if text in ("auto", "none"):
        return None if text == "none" else text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--perc {text}: expected a share such as 0.95, or none") from None


def _work(out: Path, *, resume: bool) -> Path:
    """The folder beside the output; what lies there is used when asked for, and never thrown away unasked."""
    from bothways.mining.work_folder import is_work

    work = out.with_name(f"{out.name}.mining")
    if not resume and is_work(work):
        raise InputError(f"{work}: holds the work of an earlier run; --resume uses what fits of it, or remove it")
    return work


def _finish(mined: Mined, out: Path, summary: Path | None) -> None:
    from bothways.atomic import atomic_file
    from bothways.data.conversion.converted import write_examples

    statistics = mined.statistics
    if not mined.examples:
        raise InputError(f"no row has a negative: {'; '.join(line.strip() for line in statistics.lines())}")
    write_examples(mined.examples, out)
    if summary is not None:
        with atomic_file(summary) as part:
            part.write_text(json.dumps(statistics.summary(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    for each in mined.samples:
        _show(each)
    first, *rest = statistics.lines()
    say(f"{out}: {first}")
    for line in rest:
        say(line)


def _show(sample: Sample) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heading = f"row {sample.row + 1}" + (f", {_short(sample.task)}" if sample.task else "")
    table = Table(title=Text(f"{heading}: {_short(sample.query)}"), title_justify="left", show_edge=False, pad_edge=False)
    for name, side in (("", "left"), ("score", "right"), ("rank", "right"), ("text", "left")):
        table.add_column(name, justify=side, no_wrap=name != "text")  # type: ignore[arg-type]

    def add(kind: str, seen: Seen) -> None:
        text = f"{_short(seen.text)} [{printable(seen.reason)}]" if seen.reason else _short(seen.text)
        table.add_row(kind, f"{seen.score:.4f}", str(seen.rank) if seen.rank else "", Text(text))

    for seen in sample.positives:
        add("positive", seen)
    for seen in sample.negatives:
        add("negative", seen)
    for seen in sample.filtered[:_SHOWN]:
        add("filtered", seen)
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    more = len(sample.filtered) - _SHOWN
    console.print(f"and {more} more filtered\n" if more > 0 else "")


def _short(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
