"""Options that the conversions of `bothways prepare` and `bothways mine` share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import hold, say, say_next
from bothways.errors import InputError

if TYPE_CHECKING:
    from bothways.data.conversion.converted import Converted
    from bothways.data.conversion.options import By, ClassOptions
    from bothways.data.decontamination import Overlap
    from bothways.data.labeled.example import Example
    from bothways.data.labeled.templates import Prompts

SourceArguments = Annotated[
    list[str],
    typer.Argument(
        help="files, folders or hub datasets, for example rows.jsonl or org/name:config/split"
    ),
]
TaskName = Annotated[str, typer.Option(help="name of the task, which is stored in each row")]
Seed = Annotated[int, typer.Option(help="seed of every random choice")]


def _checked(context: typer.Context, out: Path) -> Path:
    """Check the name of the output and hold it, before a source is read.

    A conversion of an hour must not fail at the name of its file, or because of another writer.
    """
    from bothways.data.conversion.converted import check_name

    hold(context, check_name(out))
    return out


class CountedWork(Protocol):
    """The counts of a conversion or of mining."""

    def lines(self) -> list[str]:
        """Return them as lines for people."""

    def summary(self) -> dict[str, object]:
        """Return them as JSON values."""


@dataclass(frozen=True)
class OutputOptions:
    """The files that a conversion writes."""

    out: Annotated[
        Path,
        typer.Option(
            help="file to write, .jsonl or .jsonl.gz, with rows {query, pos, neg, …}",
            callback=_checked,
        ),
    ]
    summary: Annotated[
        Path | None,
        typer.Option(
            help="JSON file for the counts of rows that were made and left out", callback=hold
        ),
    ] = None
    json: Json = False

    def write(self, examples: Sequence[Example], account: CountedWork) -> None:
        """Write the examples, and the account if `--summary` asks for it."""
        from bothways.atomic import atomic_file
        from bothways.data.conversion.converted import write_examples

        write_examples(examples, self.out)
        if self.summary is not None:
            with atomic_file(self.summary) as part:
                text = json.dumps(account.summary(), ensure_ascii=False, indent=2)
                part.write_text(text + "\n", encoding="utf-8")

    def report(self, account: CountedWork) -> None:
        """Print the account."""
        first, *rest = account.lines()
        say(f"{self.out}: {first}")
        for line in rest:
            say(line)
        print_json({"out": self.out, **account.summary()})
        say_next(
            "bothways", "train", "nv_embed", "--preset", "laptop", "--data", self.out, "--dry-run"
        )

    def finish(self, converted: Converted) -> None:
        """Write the examples of a conversion and print its account.

        Raises:
            InputError: if there is no example.
        """
        if not converted.examples:
            raise InputError(f"no example was made: {account_line(converted)}")
        self.write(converted.examples, converted)
        self.report(converted)


def account_line(account: CountedWork) -> str:
    """Return an account as one line, for an error."""
    return "; ".join(line.strip() for line in account.lines())


@dataclass(frozen=True)
class LayoutOptions:
    """How labeled rows are read."""

    PANEL: ClassVar[str] = "Reading the rows"

    dialect: Annotated[
        str | None,
        typer.Option(
            help="layout of the rows, for example tevatron; recognized by their columns if not given"
        ),
    ] = None
    task: Annotated[
        str | None,
        typer.Option(
            help="name of the task, stored in each row; the rows' own or the file's name if not given"
        ),
    ] = None
    limit: Annotated[
        int | None, typer.Option(min=1, help="read only the first rows of each source")
    ] = None
    template: Annotated[
        str,
        typer.Option(
            help="form of an instruction in a row: nv_embed, e5_mistral, e5, llm2vec, plain, none, or a text with {instruction}"
        ),
    ] = "nv_embed"

    def read(self, sources: Sequence[str]) -> list[Example]:
        """Read the rows of all sources."""
        from bothways.data.labeled.labeled_reader import read_examples

        return [
            row
            for source in sources
            for row in read_examples(
                source,
                dialect=self.dialect,
                task=self.task,
                limit=self.limit,
                template=self.template,
            )
        ]


@dataclass(frozen=True)
class InstructionOptions:
    """The prompts of a task."""

    PANEL: ClassVar[str] = "Prompts"

    template: Annotated[
        str,
        typer.Option(
            help="form of the instruction: nv_embed, e5_mistral, e5, llm2vec, plain, none, or a text with {instruction}"
        ),
    ] = "none"
    instruction: Annotated[
        str | None,
        typer.Option(help="the instruction; the known one for the name of the task if not given"),
    ] = None

    def prompts(self, task: str, *, symmetric: bool) -> Prompts:
        """Return the prompts of a task.

        Args:
            task: its name, for example "nli".
            symmetric: if True, documents get the prompt of queries.
        """
        from bothways.data.labeled.templates import task_prompts

        return task_prompts(self.template, task, instruction=self.instruction, symmetric=symmetric)


@dataclass(frozen=True)
class HeldOutOptions:
    """The evaluation sets that training rows must not contain."""

    PANEL: ClassVar[str] = "Evaluation texts"

    without: Annotated[
        list[str] | None,
        typer.Option(
            help="evaluation set (file, folder or hub dataset) with texts to leave out; repeat for several"
        ),
    ] = None
    near: Annotated[
        float | None,
        typer.Option(
            help="similarity, above 0 and at most 1, from which a text counts as a copy; only exact copies if not given"
        ),
    ] = None
    near_by: Annotated[
        str, typer.Option(help="similarity of --near: jaccard (of word pairs) or bm25")
    ] = "jaccard"

    def read(self) -> Overlap | None:
        """Read the evaluation texts. Return None if no set is named.

        Raises:
            InputError: if there is `--near` without a set.
        """
        from bothways.data.decontamination import Overlap
        from bothways.data.evaluation_texts import read_evaluation_texts

        if not self.without:
            if self.near is not None:
                raise InputError(
                    "--near: needs an evaluation set to compare with; name it with --without"
                )
            return None
        return Overlap(read_evaluation_texts(self.without), near=self.near, method=self.near_by)  # type: ignore[arg-type]


@dataclass(frozen=True)
class LabelOptions:
    """How labels are read, and how many rows each gives."""

    PANEL: ClassVar[str] = "Labels"

    label: Annotated[
        str | None, typer.Option(help="column of the label; found by its name if not given")
    ] = None
    separator: Annotated[
        str | None,
        typer.Option(
            help="text between several labels in one cell, for example ' ' in 'cs.CL cs.LG'"
        ),
    ] = None
    label_texts: Annotated[
        Path | None,
        typer.Option(help='JSON file with a text for each label, for example {"0": "negative"}'),
    ] = None
    negatives: Annotated[
        int | None,
        typer.Option(
            min=0, help="negatives per row; all other labels or 7 examples, by --by, if not given"
        ),
    ] = None
    per_label: Annotated[
        int | None, typer.Option(min=1, help="largest number of queries of each label")
    ] = None
    total: Annotated[
        int | None,
        typer.Option(min=1, help="largest number of queries, shared equally by the labels"),
    ] = None

    def options(
        self,
        by: By,
        *,
        task: str,
        seed: int,
        instruction: InstructionOptions,
        held_out: HeldOutOptions,
    ) -> ClassOptions:
        """Return the options of a conversion of texts with classes.

        Args:
            by: the positive of a text: "label", the text of its label, or "example", a text of its
                class. Then both sides of a row get the prompt.
            task: its name, stored in each row.
            seed: seed of every random choice.
            instruction: the prompts of the task.
            held_out: the evaluation sets to keep out.
        """
        from bothways.data.conversion.label_texts import read_label_texts
        from bothways.data.conversion.options import ClassOptions

        return ClassOptions(
            by=by,
            label_texts=None if self.label_texts is None else read_label_texts(self.label_texts),
            negatives=self.negatives,
            per_label=self.per_label,
            total=self.total,
            seed=seed,
            task=task,
            prompts=instruction.prompts(task, symmetric=by == "example"),
            without=held_out.read(),
        )
