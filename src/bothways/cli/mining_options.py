"""Options of `bothways mine`: the corpus, the limits on scores, prompts, and the search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from bothways.cli.options import BatchTokens, ComparedBy, Device, DType, open_encoder
from bothways.errors import InputError

if TYPE_CHECKING:
    from bothways.bulk.encoder_pool import EncoderPool
    from bothways.encoder.encoder import Encoder
    from bothways.mining.options import MiningOptions


@dataclass(frozen=True)
class CorpusOptions:
    """The documents that negatives are taken from."""

    PANEL: ClassVar[str] = "Corpus"

    corpus: Annotated[
        str | None,
        typer.Option(
            help="texts, documents with titles (BEIR, Tevatron) or labeled rows; the texts of the rows themselves, "
            "task by task, if not given"
        ),
    ] = None
    column: Annotated[str | None, typer.Option(help="column of the corpus that holds the text")] = (
        None
    )

    def check(self) -> None:
        """Refuse a column without a corpus.

        Raises:
            InputError: if there is one.
        """
        if self.column is not None and self.corpus is None:
            raise InputError("--column: names a column of --corpus, which is not given")

    def read(self) -> list[str] | None:
        """Read the documents. Return None for the texts of the rows."""
        from bothways.mining.corpus import read_corpus

        return None if self.corpus is None else list(read_corpus(self.corpus, column=self.column))


@dataclass(frozen=True)
class SelectionOptions:
    """Which documents become negatives. The fields are those of `MiningOptions`."""

    PANEL: ClassVar[str] = "Choice of negatives"

    negatives: Annotated[int, typer.Option(help="largest number of negatives of a row")] = 7
    window: Annotated[
        str,
        typer.Option(
            help="ranks to choose from, FIRST:LAST, without the query and its known answers; auto is 2:100 with bm25, else 1:100"
        ),
    ] = "auto"
    perc: Annotated[
        str,
        typer.Option(
            help="highest score of a negative, as a share of the lowest score of a positive; or none; auto is none with bm25, "
            "else 0.95"
        ),
    ] = "auto"
    margin: Annotated[
        float | None,
        typer.Option(help="smallest distance of a negative's score below the lowest positive's"),
    ] = None
    relative_margin: Annotated[
        float | None,
        typer.Option(
            help="another way to write --perc: 0.05 is 0.95; with both, the lower limit holds"
        ),
    ] = None
    max_score: Annotated[
        float | None, typer.Option(help="scores of negatives must be below this")
    ] = None
    sampling: Annotated[
        str, typer.Option(help="top (the highest ranked) or random (of all that pass)")
    ] = "top"
    fill: Annotated[
        str,
        typer.Option(
            help="if too few documents pass, add random texts of the corpus (random) or do not (none); auto is random with "
            "bm25, else none"
        ),
    ] = "auto"
    empty: Annotated[str, typer.Option(help="rows without any negative: keep or drop")] = "keep"
    same_label: Annotated[
        bool, typer.Option(help="do not use texts of one task and label as negatives of each other")
    ] = True
    seed: Annotated[int, typer.Option(help="seed of random sampling and of the printed sample")] = 0

    def options(self, method: str, search: SearchOptions) -> MiningOptions:
        """Return the checked options.

        Args:
            method: "bm25", "dense" or "hybrid".
            search: gives the similarity, the backend and the type of stored vectors.

        Raises:
            InputError: if one is out of its range.
        """
        from bothways.mining.options import MiningOptions

        choices: dict[str, Any] = {
            **vars(self),
            "window": _window(self.window),
            "perc": _perc(self.perc),
        }
        found: dict[str, Any] = {
            name: getattr(search, name) for name in ("similarity", "backend", "store")
        }
        return MiningOptions(method=method, **found, **choices)  # type: ignore[arg-type]


@dataclass(frozen=True)
class PromptOptions:
    """Prompts in place of those of the rows or of the model."""

    PANEL: ClassVar[str] = "Prompts"

    query_prompt: Annotated[
        str | None,
        typer.Option(help="text before every query, in place of the rows' or the model's"),
    ] = None
    document_prompt: Annotated[
        str | None,
        typer.Option(help="text before every document, in place of the rows' or the model's"),
    ] = None


@dataclass(frozen=True)
class SearchOptions:
    """How the model runs and how its vectors are searched."""

    PANEL: ClassVar[str] = "Search"

    backend: Annotated[
        str,
        typer.Option(
            help="search of vectors: exact (in bounded memory) or faiss (needs faiss-cpu)"
        ),
    ] = "exact"
    store: Annotated[str, typer.Option(help="type of vectors on disk: float32 or float16")] = (
        "float32"
    )
    similarity: ComparedBy = None
    batch_tokens: BatchTokens = None
    device: Device = "auto"
    dtype: DType = "auto"

    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="processes that encode, each with the model in memory; 1 if not given",
        ),
    ] = None

    @contextmanager
    def opened(self, model: str | None) -> Iterator[Encoder | EncoderPool | None]:
        """Open the model for a `with` block. BM25 alone has None."""
        if model is None:
            yield None
        elif self.processes in (None, 1):
            yield open_encoder(model, device=self.device, dtype=self.dtype)
        else:
            from bothways.bulk.encoder_pool import EncoderPool
            from bothways.bulk.model_request import ModelRequest

            request = ModelRequest(model, self.device, self.dtype)
            with EncoderPool(request, self.processes or 1) as pool:
                yield pool

    def check(self, model: str | None) -> None:
        """Refuse processes without a model.

        Raises:
            InputError: if BM25 runs alone.
        """
        if model is None and self.processes is not None:
            raise InputError(
                "--processes: bm25 ranks by words and encodes nothing; leave it out, or name a model"
            )


@dataclass(frozen=True)
class WorkOptions:
    """The folder of vectors and finished blocks, with which a stopped run goes on."""

    PANEL: ClassVar[str] = "Interrupted runs"

    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="continue a stopped run with the vectors that it left in OUT.mining"
        ),
    ] = False
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="leave the vectors in OUT.mining, to try other limits with --resume"
        ),
    ] = False

    def folder(self, out: Path) -> Path:
        """Return the folder next to the output. Only `--resume` uses an earlier one.

        Raises:
            InputError: if it holds the work of an earlier run and there is no `--resume`.
        """
        from bothways.mining.work_folder import is_work

        work = out.with_name(f"{out.name}.mining")
        if not self.resume and is_work(work):
            raise InputError(
                f"{work}: holds the work of an earlier run; use it with --resume, or remove it"
            )
        return work


def method_of(given: str) -> tuple[str, str | None]:
    """Split the value of `--with` into the method and the model.

    For example, "bm25" is ("bm25", None), "runs/mine" is ("dense", "runs/mine"), and
    "hybrid:runs/mine" is ("hybrid", "runs/mine").

    Raises:
        InputError: if a hybrid does not name a model.
    """
    if given == "bm25":
        return "bm25", None
    if given.startswith("hybrid:"):
        model = given.removeprefix("hybrid:")
        if not model:
            raise InputError("--with hybrid: names no model; expected hybrid:MODEL")
        return "hybrid", model
    return "dense", given


def _window(text: str) -> tuple[int, int] | str:
    if text == "auto":
        return text
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal()):
        raise InputError(
            f"--window {text}: expected FIRST:LAST, two ranks from 1, for example 2:100"
        )
    return int(first), int(last)


def _perc(text: str) -> float | str | None:
    if text in ("auto", "none"):
        return None if text == "none" else text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--perc {text}: expected a share such as 0.95, or none") from None
