"""`bothways prepare KIND SOURCE… --out FILE`: convert labeled data of any task to training rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.option_groups import flat
from bothways.cli.prepare_options import (
    HeldOutOptions,
    InstructionOptions,
    LabelOptions,
    LayoutOptions,
    OutputOptions,
    Seed,
    SourceArguments,
    TaskName,
)

NAME = "prepare"
group = typer.Typer(
    no_args_is_help=True,
    help="Convert labeled data to training rows, without the texts of evaluation sets.",
)


@group.command()
@flat
def examples(
    sources: SourceArguments,
    output: OutputOptions,
    layout: LayoutOptions,
    held_out: HeldOutOptions,
    queries_only: Annotated[
        bool, typer.Option(help="look for evaluation texts among queries only, not among documents")
    ] = False,
) -> None:
    """Write rows of any known layout as one file.

    The layouts are those that training reads: FlagEmbedding, Tevatron, sentence-transformers, E5,
    SimCSE, ms-swift, BEIR and others.
    """
    from bothways.data.conversion.converted import Converted
    from bothways.data.decontamination import remove_overlap

    held = held_out.read()
    converted = Converted(layout.read(sources))
    converted.rows = len(converted.examples)
    if held is not None:
        converted.examples, matches, gone = remove_overlap(
            converted.examples, held, documents=not queries_only
        )
        converted.matches += matches
        if gone:
            converted.drop("examples held by evaluation data or close to it", count=gone)
    output.finish(converted)


@group.command()
@flat
def retrieval(
    folder: Annotated[
        Path,
        typer.Argument(help="BEIR folder with corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv"),
    ],
    output: OutputOptions,
    instruction: InstructionOptions,
    held_out: HeldOutOptions,
    split: Annotated[str, typer.Option(help="split of the judgments, a file in qrels/")] = "train",
    min_grade: Annotated[int, typer.Option(min=1, help="lowest grade of a relevant document")] = 1,
    task: Annotated[
        str | None,
        typer.Option(help="name of the task, stored in each row; the folder's name if not given"),
    ] = None,
) -> None:
    """Pair judged queries with their relevant documents.

    The rows have no hard negatives. Add them with `bothways mine`.
    """
    from bothways.data.conversion.options import JudgedOptions
    from bothways.data.conversion.retrieval import retrieval as convert

    name = task or folder.resolve().name
    options = JudgedOptions(
        split=split,
        min_grade=min_grade,
        task=name,
        prompts=instruction.prompts(name, symmetric=False),
        without=held_out.read(),
    )
    output.finish(convert(folder, options))


@group.command()
@flat
def nli(
    sources: SourceArguments,
    output: OutputOptions,
    instruction: InstructionOptions,
    held_out: HeldOutOptions,
    pairing: Annotated[
        str,
        typer.Option(
            help="entailment (one row for each entailed sentence), one_to_one (each sentence at most once), or premise "
            "(one row for each premise)"
        ),
    ] = "entailment",
    task: TaskName = "nli",
    seed: Seed = 0,
) -> None:
    """Make triplets of premise, entailed sentence and contradiction, as supervised SimCSE does.

    The sources are tables with the columns premise, hypothesis and label.
    """
    from bothways.data.conversion.converted import Converted
    from bothways.data.conversion.nli import read_inferences, triplets
    from bothways.data.conversion.options import NliOptions

    read = Converted()
    rows = [item for source in sources for item in read_inferences(source, read)]
    converted = triplets(
        rows,
        NliOptions(
            pairing=pairing,  # type: ignore[arg-type]
            seed=seed,
            task=task,
            prompts=instruction.prompts(task, symmetric=True),
            without=held_out.read(),
        ),
    )
    converted.rows += read.rows
    for reason, count in read.dropped.items():
        converted.drop(reason, read.first[reason], count)
    output.finish(converted)


@group.command()
@flat
def classification(
    sources: SourceArguments,
    output: OutputOptions,
    labels: LabelOptions,
    instruction: InstructionOptions,
    held_out: HeldOutOptions,
    by: Annotated[
        str,
        typer.Option(
            help="the positive of a text: label (the text of its label), example (a text of its class), or auto (label for "
            "two classes, else example)"
        ),
    ] = "auto",
    text: Annotated[
        str | None, typer.Option(help="column of the text; found by its name if not given")
    ] = None,
    task: TaskName = "classification",
    seed: Seed = 0,
) -> None:
    """Pair each text with the text of its label, or with another text of its class.

    NV-Embed's first version uses the texts of labels. The second does so for two classes, and uses
    texts of the same class for more.
    """
    from bothways.data.conversion.classification import classification as convert
    from bothways.data.conversion.classification import settled
    from bothways.data.labeled.labeled_text import read_labeled

    items = [
        item
        for source in sources
        for item in read_labeled(source, text=text, label=labels.label, separator=labels.separator)
    ]
    chosen = settled(by, items)  # type: ignore[arg-type]
    options = labels.options(
        chosen, task=task, seed=seed, instruction=instruction, held_out=held_out
    )
    output.finish(convert(items, options))


@group.command()
@flat
def clustering(
    sources: SourceArguments,
    output: OutputOptions,
    labels: LabelOptions,
    instruction: InstructionOptions,
    held_out: HeldOutOptions,
    form: Annotated[str, typer.Option(help="s2s (titles) or p2p (bodies)")] = "s2s",
    title: Annotated[
        str | None, typer.Option(help="column of the title; found by its name if not given")
    ] = None,
    body: Annotated[
        str | None, typer.Option(help="column of the body; found by its name if not given")
    ] = None,
    title_before_body: Annotated[
        bool, typer.Option(help="for p2p: put the title before the body, as MTEB's data sets do")
    ] = False,
    by: Annotated[
        str,
        typer.Option(
            help="the positive of a text: example (a text of its category) or label (the text of the category)"
        ),
    ] = "example",
    task: TaskName = "clustering",
    seed: Seed = 0,
) -> None:
    """Pair each text with another text of its category, or with the category's own text."""
    from bothways.data.conversion.classification import classification as convert
    from bothways.data.conversion.clustering import DocumentColumns, read_titled_documents
    from bothways.errors import InputError

    if by not in ("example", "label"):
        raise InputError(
            f"--by {by}: must be example (a text of the category) or label (the category's text)"
        )

    columns = DocumentColumns(
        form=form,  # type: ignore[arg-type]
        title=title,
        body=body,
        label=labels.label,
        separator=labels.separator,
        title_before_body=title_before_body,
    )
    items = [item for source in sources for item in read_titled_documents(source, columns)]
    options = labels.options(
        by,  # type: ignore[arg-type]
        task=task,
        seed=seed,
        instruction=instruction,
        held_out=held_out,
    )
    output.finish(convert(items, options))


@group.command()
@flat
def sts(
    sources: SourceArguments,
    output: OutputOptions,
    instruction: InstructionOptions,
    held_out: HeldOutOptions,
    threshold: Annotated[float, typer.Option(help="lowest score of a positive")] = 4.0,
    ceiling: Annotated[
        float, typer.Option(help="highest score that a negative may have with the query")
    ] = 2.5,
    negatives: Annotated[int, typer.Option(min=0, help="negatives of each row")] = 7,
    chosen_by: Annotated[
        str, typer.Option(help="choice of negatives: bm25 (the highest ranked) or random")
    ] = "bm25",
    first_rank: Annotated[
        int,
        typer.Option(min=1, help="for bm25: first rank to take; the query itself is not counted"),
    ] = 1,
    task: TaskName = "sts",
    seed: Seed = 0,
) -> None:
    """Pair sentences of high similarity, in both directions, as NV-Embed does."""
    from bothways.data.conversion.options import StsOptions
    from bothways.data.conversion.sts import directed_pairs
    from bothways.data.labeled.graded_pairs import Pairs, read_pairs

    read = [read_pairs(source) for source in sources]
    converted = directed_pairs(
        Pairs(
            [text for pairs in read for text in pairs.first],
            [text for pairs in read for text in pairs.second],
            [score for pairs in read for score in pairs.scores],
        ),
        StsOptions(
            threshold=threshold,
            ceiling=ceiling,
            negatives=negatives,
            chosen_by=chosen_by,  # type: ignore[arg-type]
            first_rank=first_rank,
            seed=seed,
            task=task,
            prompts=instruction.prompts(task, symmetric=True),
            without=held_out.read(),
        ),
    )
    output.finish(converted)
