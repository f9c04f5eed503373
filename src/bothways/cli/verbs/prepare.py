"""`bothways prepare KIND SOURCE… --out FILE`: labelled data of any task as training examples for the contrastive objective."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.prepare_options import (
    Instruction,
    Label,
    Near,
    NearBy,
    Negatives,
    Out,
    PerLabel,
    Seed,
    Separator,
    Sources,
    Summary,
    Task,
    TaskOfFile,
    Template,
    Total,
    Without,
    evaluation_texts,
    finish,
    prompts,
)

NAME = "prepare"
group = typer.Typer(
    no_args_is_help=True, help="Convert labelled data into training examples, without the texts of evaluation sets."
)


@group.command()
def examples(
    sources: Sources,
    out: Out,
    dialect: Annotated[str | None, typer.Option(help="the sources' layout, instead of telling it from the columns")] = None,
    task: TaskOfFile = None,
    limit: Annotated[int | None, typer.Option(min=1, help="of each source, the first examples only")] = None,
    template: Template = "nv_embed",
    queries_only: Annotated[bool, typer.Option(help="look for evaluation texts among queries, not among documents")] = False,
    without: Without = None,
    near: Near = None,
    near_by: NearBy = "jaccard",
    summary: Summary = None,
) -> None:
    """Any dialect that training reads, as one file: FlagEmbedding, Tevatron, sentence-transformers, E5, SimCSE, ms-swift, BEIR."""
    from bothways.data.conversion.converted import Converted
    from bothways.data.decontamination import remove_overlap
    from bothways.data.labeled.labeled_reader import read_examples

    held = evaluation_texts(without, near, near_by)
    converted = Converted()
    for source in sources:
        converted.examples += read_examples(source, dialect=dialect, task=task, limit=limit, template=template)
    converted.rows = len(converted.examples)
    if held is not None:
        converted.examples, matches, gone = remove_overlap(converted.examples, held, documents=not queries_only)
        converted.matches += matches
        if gone:
            converted.drop("examples held by evaluation data or close to it", count=gone)
    finish(converted, out, summary)


@group.command()
def retrieval(
    folder: Annotated[Path, typer.Argument(help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv")],
    out: Out,
    split: Annotated[str, typer.Option(help="whose judgements")] = "train",
    min_grade: Annotated[int, typer.Option(min=1, help="least grade of a positive")] = 1,
    task: TaskOfFile = None,
    template: Template = "none",
    instruction: Instruction = None,
    without: Without = None,
    near: Near = None,
    near_by: NearBy = "jaccard",
    summary: Summary = None,
) -> None:
    """Judged queries with their relevant documents; hard negatives are mined afterwards."""
    from bothways.data.conversion.retrieval import retrieval as convert

    name = task or folder.resolve().name
    held = evaluation_texts(without, near, near_by)
    side = prompts(template, name, instruction, symmetric=False)
    finish(convert(folder, split=split, min_grade=min_grade, task=name, prompts=side, without=held), out, summary)


@group.command()
def nli(
    sources: Sources,
    out: Out,
    pairing: Annotated[
        str, typer.Option(help="entailment (each once), one_to_one, or premise (one example a premise)")
    ] = "entailment",
    task: Task = "nli",
    template: Template = "none",
    instruction: Instruction = None,
    without: Without = None,
    near: Near = None,
    near_by: NearBy = "jaccard",
    seed: Seed = 0,
    summary: Summary = None,
) -> None:
    """(premise, entailment, contradiction) triplets from tables of premise, hypothesis and label, as supervised SimCSE."""
    from bothways.data.conversion.converted import Converted
    from bothways.data.conversion.nli import read_inferences, triplets

    read = Converted()
    rows = [item for source in sources for item in read_inferences(source, read)]
    held = evaluation_texts(without, near, near_by)
    both = prompts(template, task, instruction, symmetric=True)
    converted = triplets(rows, pairing=pairing, seed=seed, task=task, prompts=both, without=held)  # type: ignore[arg-type]
    converted.rows += read.rows
    for reason, count in read.dropped.items():
        converted.drop(reason, read.first[reason], count)
    finish(converted, out, summary)


@group.command()
def classification(
    sources: Sources,
    out: Out,
    by: Annotated[
        str, typer.Option(help="positives: label (its text), example (of the class), auto (label for two classes)")
    ] = "auto",
    label_texts: Annotated[Path | None, typer.Option(help="JSON object: label to its text")] = None,
    text: Annotated[str | None, typer.Option(help="column of the text")] = None,
    label: Label = None,
    separator: Separator = None,
    negatives: Annotated[
        int | None, typer.Option(min=0, help="per example; by default all other labels, or 7 examples")
    ] = None,
    per_label: PerLabel = None,
    total: Total = None,
    task: Task = "classification",
    template: Template = "none",
    instruction: Instruction = None,
    without: Without = None,
    near: Near = None,
    near_by: NearBy = "jaccard",
    seed: Seed = 0,
    summary: Summary = None,
) -> None:
    """Texts with the text of their label, or with a text of their class, as NV-Embed."""
    from bothways.data.conversion.classification import classification as convert
    from bothways.data.conversion.classification import settled
    from bothways.data.conversion.labeled_text import read_label_texts, read_labelled

    items = [item for source in sources for item in read_labelled(source, text=text, label=label, separator=separator)]
    chosen = settled(by, items)  # type: ignore[arg-type]
    converted = convert(
        items,
        by=chosen,
        label_texts=None if label_texts is None else read_label_texts(label_texts),
        negatives=negatives,
        per_label=per_label,
        total=total,
        seed=seed,
        task=task,
        prompts=prompts(template, task, instruction, symmetric=chosen == "example"),
        without=evaluation_texts(without, near, near_by),
    )
    finish(converted, out, summary)


@group.command()
def clustering(
    sources: Sources,
    out: Out,
    form: Annotated[str, typer.Option(help="s2s (titles) or p2p (bodies)")] = "s2s",
    title: Annotated[str | None, typer.Option(help="column of the title")] = None,
    body: Annotated[str | None, typer.Option(help="column of the body")] = None,
    label: Label = None,
    separator: Separator = None,
    title_before_body: Annotated[bool, typer.Option(help="p2p: title and body, as MTEB's sets")] = False,
    by: Annotated[str, typer.Option(help="positives: example (of the category), or label (its text)")] = "example",
    label_texts: Annotated[Path | None, typer.Option(help="JSON object: category to its text")] = None,
    negatives: Annotated[int | None, typer.Option(min=0, help="per example; by default 7, or all other categories")] = None,
    per_label: PerLabel = None,
    total: Total = None,
    task: Task = "clustering",
    template: Template = "none",
    instruction: Instruction = None,
    without: Without = None,
    near: Near = None,
    near_by: NearBy = "jaccard",
    seed: Seed = 0,
    summary: Summary = None,
) -> None:
    """Texts with another text of their category, or the category's own text, as NV-Embed."""
    from bothways.data.conversion.classification import classification as convert
    from bothways.data.conversion.clustering import read_documents
    from bothways.data.conversion.labeled_text import read_label_texts
    from bothways.errors import InputError

    if by not in ("example", "label"):
        raise InputError(f"--by {by}: expected example (another text of the category) or label (the category's text)")

    items = [
        item
        for source in sources
        for item in read_documents(
            source,
            form=form,  # type: ignore[arg-type]
            title=title,
            body=body,
            label=label,
            separator=separator,
            title_before_body=title_before_body,
        )
    ]
    converted = convert(
        items,
        by=by,  # type: ignore[arg-type]
        label_texts=None if label_texts is None else read_label_texts(label_texts),
        negatives=negatives,
        per_label=per_label,
        total=total,
        seed=seed,
        task=task,
        prompts=prompts(template, task, instruction, symmetric=by == "example"),
        without=evaluation_texts(without, near, near_by),
    )
    finish(converted, out, summary)


@group.command()
def sts(
    sources: Sources,
    out: Out,
    threshold: Annotated[float, typer.Option(help="least score of a positive")] = 4.0,
    ceiling: Annotated[float, typer.Option(help="greatest score that a negative may have with the query")] = 2.5,
    negatives: Negatives = 7,
    chosen_by: Annotated[str, typer.Option(help="negatives: bm25 (the best ranked) or random")] = "bm25",
    first_rank: Annotated[int, typer.Option(min=1, help="bm25: first rank taken, counted without the query")] = 1,
    task: Task = "sts",
    template: Template = "none",
    instruction: Instruction = None,
    without: Without = None,
    near: Near = None,
    near_by: NearBy = "jaccard",
    seed: Seed = 0,
    summary: Summary = None,
) -> None:
    """Scored sentence pairs: those that mean the same, in both directions, as NV-Embed."""
    from bothways.data.conversion.sts import directed_pairs
    from bothways.data.labeled.pairs import Pairs, read_pairs

    read = [read_pairs(source) for source in sources]
    converted = directed_pairs(
        Pairs([t for p in read for t in p.first], [t for p in read for t in p.second], [s for p in read for s in p.scores]),
        threshold=threshold,
        ceiling=ceiling,
        negatives=negatives,
        chosen_by=chosen_by,  # type: ignore[arg-type]
        first_rank=first_rank,
        seed=seed,
        task=task,
        prompts=prompts(template, task, instruction, symmetric=True),
        without=evaluation_texts(without, near, near_by),
    )
    finish(converted, out, summary)
