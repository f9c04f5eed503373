"""Options that the conversions of `bothways prepare` share, and what all of them do before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bothways.cli.options import hold, say

if TYPE_CHECKING:
    from bothways.data.conversion.converted import Converted
    from bothways.data.decontamination import Overlap
    from bothways.data.labeled.templates import Prompts

Sources = Annotated[list[str], typer.Argument(help="files, folders or hub datasets org/name:config/split")]


def _checked(context: typer.Context, out: Path) -> Path:
    """Before the sources are read: a large conversion must not end at the name of its file, or at another writer."""
    from bothways.data.conversion.converted import check_name

    hold(context, check_name(out))
    return out


Out = Annotated[Path, typer.Option(help="file to write: .jsonl or .jsonl.gz of {query, pos, neg, …}", callback=_checked)]
Task = Annotated[str, typer.Option(help="name of the task, which each row carries")]
TaskOfFile = Annotated[str | None, typer.Option(help="name of the task, which each row carries; by default the source's")]
Template = Annotated[
    str,
    typer.Option(
        help="how the instruction is written: nv_embed, e5_mistral, e5, llm2vec, plain, none, or a text with {instruction}"
    ),
]
Instruction = Annotated[str | None, typer.Option(help="the task's description; by default the known one of its name")]
Without = Annotated[list[str] | None, typer.Option(help="evaluation set whose texts must not occur; repeatable")]
Near = Annotated[
    float | None, typer.Option(help="similarity (0-1] from which a text counts as a copy; exact copies alone without")
]
NearBy = Annotated[str, typer.Option(help="measure of near copies: jaccard (word pairs) or bm25")]
Seed = Annotated[int, typer.Option(help="of every random choice")]
Summary = Annotated[Path | None, typer.Option(help="write the account of what was made and left out as JSON", callback=hold)]
Negatives = Annotated[int, typer.Option(min=0, help="negatives per example")]
PerLabel = Annotated[int | None, typer.Option(min=1, help="at most so many queries of each label")]
Total = Annotated[int | None, typer.Option(min=1, help="at most so many queries, shared equally by the labels")]
Label = Annotated[str | None, typer.Option(help="column of the label")]
Separator = Annotated[str | None, typer.Option(help="cuts a label into several, as ' ' does 'cs.CL cs.LG'")]


def evaluation_texts(without: list[str] | None, near: float | None, near_by: str) -> Overlap | None:
    """The evaluation texts to keep out, or None where no set is named."""
    from bothways.data.decontamination import Overlap
    from bothways.data.evaluation_texts import read_evaluation_texts
    from bothways.errors import InputError

    if not without:
        if near is not None:
            raise InputError("--near: says how close a text may come to an evaluation set; name the set with --without")
        return None
    return Overlap(read_evaluation_texts(without), near=near, method=near_by)  # type: ignore[arg-type]


def prompts(template: str, task: str, instruction: str | None, *, symmetric: bool) -> Prompts:
    """The prompts that the options ask for."""
    from bothways.data.labeled.templates import task_prompts

    return task_prompts(template, task, instruction=instruction, symmetric=symmetric)


def finish(converted: Converted, out: Path, summary: Path | None) -> None:
    """Write the examples and say what was made of what."""
    from bothways.atomic import atomic_file
    from bothways.data.conversion.converted import write_examples
    from bothways.errors import InputError

    if not converted.examples:
        raise InputError(f"no example was made: {'; '.join(line.strip() for line in converted.lines())}")
    write_examples(converted.examples, out)
    if summary is not None:
        with atomic_file(summary) as part:
            part.write_text(json.dumps(converted.summary(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    first, *rest = converted.lines()
    say(f"{out}: {first}")
    for line in rest:
        say(line)
