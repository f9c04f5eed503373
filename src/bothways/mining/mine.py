"""Mining of hard negatives.

For every row the corpus is ranked by BM25, by a model or by both, and known answers are taken out.
Of the ranks in a window, documents are kept that score clearly below the row's answers
(positive-aware mining: NV-Retriever, Moreira et al. 2024, arXiv 2407.15831, used by NV-Embed, arXiv
2405.17428). Without that limit many hard negatives are answers that nobody labeled.

In memory are the texts, one block of rows, one block of document vectors, and the index of BM25.
Vectors are on disk.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bothways import __version__
from bothways.data.decontamination import Overlap
from bothways.data.fingerprint import fingerprint_texts
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.foreign import foreign
from bothways.mining.corpus import read_corpus
from bothways.mining.document_filters import Rule
from bothways.mining.group import MiningGroup, Prompting, group_rows
from bothways.mining.known import Known
from bothways.mining.options import MiningOptions
from bothways.mining.sample import Sample, make_sample, sampled_rows
from bothways.mining.select import Choice
from bothways.mining.statistics import Counts, Statistics
from bothways.mining.work_folder import REMOVE, Finished, Work, digest, workspace
from bothways.progress import Progress
from bothways.search.vectors import AnyEncoder, Vectors

# Rows that are searched together, and the most that a killed run loses. Each block reads the
# document vectors once.
ROW_BLOCK = 1024

_FREE = ("empty", "backend")  # options that do not change a choice


@dataclass(frozen=True)
class Mined:
    """The result of mining.

    Attributes:
        examples: the rows in order, with mined negatives instead of those they had. If an encoder
            scored them, they have its scores of positives and negatives, like those of a teacher.
            BM25's scores are only in the statistics.
        statistics: counts and scores.
        samples: some rows with everything that mining saw of them.
    """

    examples: list[Example]
    statistics: Statistics
    samples: list[Sample]


@dataclass(frozen=True, kw_only=True)
class MiningSetup:
    """How a mining runs, next to its options.

    Attributes:
        encoder: the vectors of "dense" and "hybrid". None for "bm25".
        prompting: the prompts before queries and documents. By default those of the rows.
        rules: rules of the caller, asked about every document that has passed everything else. With
            rules, finished rows are not kept in `work`.
        without: evaluation texts that may not become negatives.
        sample: the number of rows to keep in full, drawn by the seed of the options.
        work: a folder for vectors and finished blocks, with which a stopped run goes on. If None, a
            temporary one.
        progress: show bars. If None, only when it takes long.
        only: the numbers of the rows to mine for. The others stay as they are, but their answers
            count. If None, mine for all.
    """

    encoder: Vectors | None = None
    prompting: Prompting = field(default_factory=Prompting)
    rules: Sequence[Rule] = ()
    without: Overlap | None = None
    sample: int = 0
    work: str | Path | None = None
    progress: bool | None = None
    only: Collection[int] | None = None


def mine(
    examples: Iterable[Example],
    corpus: Sequence[str] | str | Path | None = None,
    options: MiningOptions | None = None,
    *,
    encoder: AnyEncoder | None = None,
    exclude: Sequence[Rule] = (),
    without: Overlap | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    batch_tokens: int | None = None,
    sample: int = 0,
    work: str | Path | None = None,
    progress: bool | None = None,
    **choices: Any,
) -> Mined:
    """Find hard negatives for every row.

    For example, mine(rows, "scifact", method="dense", encoder=encoder, perc=0.9). A document never
    becomes a negative of a row if its normal form is that of the query, of a positive of the row,
    or of a positive of any row with the same query. Limits are taken from the lowest-scored of
    these positives.

    Args:
        examples: the rows.
        corpus: texts, a BEIR folder, its corpus.jsonl, or any source of texts. If None, the
            positives and negatives of the examples, task by task.
        options: the options. If None, they are made of `choices`.
        encoder: for "dense" and "hybrid": an Encoder, a SentenceTransformer, anything with
            `encode`, or a function of a list of texts.
        exclude: see `MiningSetup.rules`.
        without: evaluation texts that may not become negatives.
        query_prompt: a text before every query, "" for none. If None, the prompt of the row, and if
            it has none, that of the encoder.
        document_prompt: the same before every document.
        batch_tokens: the tokens of a pass, for encoders that take this argument.
        sample: see `MiningSetup`.
        work: see `MiningSetup`.
        progress: see `MiningSetup`.
        **choices: fields of `MiningOptions`, in place of `options`.

    Raises:
        InputError: there is no example, the corpus is empty, an option is out of range or given
            twice, or the encoder cannot be used.
        MissingExtra: bm25s or faiss is not installed.
        OutputError: `work` cannot be written.
    """
    if options is not None and choices:
        raise InputError(
            f"mine: options and {', '.join(choices)} are given; put them into the options"
        )
    options = options or MiningOptions(**choices)
    setup = MiningSetup(
        encoder=None
        if encoder is None
        else Vectors(encoder, batch_tokens=batch_tokens, similarity=options.similarity),
        prompting=Prompting(query_prompt, document_prompt),
        rules=exclude,
        without=without,
        sample=sample,
        work=work,
        progress=progress,
    )
    return mine_with(examples, corpus, options, setup)


def mine_with(
    examples: Iterable[Example],
    corpus: Sequence[str] | str | Path | None,
    options: MiningOptions,
    setup: MiningSetup | None = None,
) -> Mined:
    """Find hard negatives with options and a setup; see `mine`."""
    setup = setup or MiningSetup()
    rows = list(examples)
    texts = list(read_corpus(corpus)) if isinstance(corpus, (str, Path)) else corpus
    _check(rows, texts, options, setup.encoder)
    if setup.encoder is not None:
        options = replace(options, similarity=setup.encoder.similarity)
    known = Known(rows, same_label=options.same_label)
    statistics = Statistics(options)
    finished = dict(enumerate(rows))
    samples: list[Sample] = []
    wanted = set(sampled_rows(len(rows), setup.sample, options.seed))
    with workspace(setup.work) as place:
        whole = (
            fingerprint_texts(json.dumps(list(vars(row).values())) for row in rows)
            if place.kept
            else ""
        )
        for numbers in group_rows(rows, texts, options, setup.prompting):
            asking = [
                row
                for row, number in enumerate(numbers)
                if setup.only is None or number in setup.only
            ]
            if not asking:
                continue
            group = _group(rows, numbers, texts, known, options, setup)
            # a corpus that all groups share counts once
            if texts is None or not statistics.documents:
                statistics.corpus(group.documents)
            group.open(place, setup.encoder, setup.prompting, show=setup.progress)
            blocks = None if setup.rules else _blocks(place, group, asking, whole)
            with Progress("mine", len(asking), "rows", show=setup.progress) as bar:
                for found, counts in _mined(group, asking, blocks, bar.advance):
                    finished.update(found)
                    statistics.counts.merge(counts)
            samples += _samples(group, wanted)
    result = [finished[number] for number in range(len(rows))]
    statistics.examples(result)
    kept = _kept(result, rows, options, setup.only)
    return Mined(kept, statistics, sorted(samples, key=lambda each: each.row))


def _group(
    rows: list[Example],
    numbers: list[int],
    texts: Sequence[str] | None,
    known: Known,
    options: MiningOptions,
    setup: MiningSetup,
) -> MiningGroup:
    """Put rows together that are mined in one corpus.

    Raises:
        InputError: if no text of the corpus may become a negative.
    """
    group = MiningGroup(
        rows,
        numbers,
        corpus=texts,
        known=known,
        options=options,
        rules=setup.rules,
        without=setup.without,
    )
    if not group.documents.candidates:
        raise InputError(
            "corpus: all texts are empty or excluded; give at least one that may become a negative"
        )
    return group


def _samples(group: MiningGroup, wanted: set[int]) -> list[Sample]:
    """Return the samples of a group's rows that are among the wanted numbers."""
    local = [number for number, row in enumerate(group.rows) if row in wanted]
    chosen = group.choices_of(local) if local else []
    return [
        make_sample(group.rows[number], group.examples[number], choice, group.documents)
        for number, choice in zip(local, chosen)
    ]


def _kept(
    result: list[Example],
    rows: list[Example],
    options: MiningOptions,
    only: Collection[int] | None,
) -> list[Example]:
    """Return the mined rows that the options keep, without scores that do not belong to them."""
    if options.method == "bm25":
        mined = set(range(len(rows))) if only is None else set(only)
        result = [
            _unscored(row, rows[number]) if number in mined else row
            for number, row in enumerate(result)
        ]
    return [row for row in result if row.negatives] if options.empty == "drop" else result


def _unscored(row: Example, before: Example) -> Example:
    """Return a mined row with the scores that its positives had before.

    Scores of a row are a teacher's, and BM25's are not.
    """
    return replace(row, positive_scores=before.positive_scores, negative_scores=None)


def _mined(
    group: MiningGroup,
    chosen: Sequence[int],
    blocks: Finished | None,
    advance: Callable[[int], None],
) -> Iterable[tuple[dict[int, Example], Counts]]:
    """Yield the finished rows of each block by number, and their counts.

    `chosen` holds indices into the group's own rows.
    """
    for number, first in enumerate(range(0, len(chosen), ROW_BLOCK)):
        block = chosen[first : first + ROW_BLOCK]
        kept = None if blocks is None else blocks.read(number)
        if kept is None:
            kept = _block(group.choices_of(block))
            if blocks is not None:
                blocks.write(number, kept)
        with foreign(
            "a block of rows" if blocks is None else blocks.path(number),
            "is not what mining wrote there",
            REMOVE,
        ):
            found = _rows(group, block, kept), Counts.from_dict(kept["counts"])
        advance(len(block))
        yield found


def _rows(group: MiningGroup, block: Sequence[int], kept: Mapping[str, Any]) -> dict[int, Example]:
    """Return the rows of a block with their negatives, by number."""
    texts = group.documents.texts
    return {
        group.rows[row]: replace(
            group.examples[row],
            negatives=tuple(texts[_place(place, len(texts))] for place in places),
            negative_scores=tuple(map(float, scores)),
            positive_scores=tuple(map(float, positive)),
        )
        for row, (places, scores, positive) in zip(block, kept["rows"], strict=True)
    }


def _place(place: object, count: int) -> int:
    if type(place) is not int or not 0 <= place < count:
        raise ValueError(f"there is no text number {place!r:.40}, only {count} texts")
    return place


def _block(choices: Sequence[Choice]) -> dict[str, Any]:
    counts = Counts()
    for choice in choices:
        counts.add(choice)
    return {
        "rows": [[each.places, each.scores, each.positive_scores] for each in choices],
        "counts": counts.as_dict(),
    }


def _blocks(place: Work, group: MiningGroup, chosen: Sequence[int], whole: str) -> Finished | None:
    """Return the store of this group's finished blocks, or None if none is kept."""
    if not place.kept:
        return None

    def facts() -> list[str]:
        options = {
            name: value for name, value in asdict(group.options).items() if name not in _FREE
        }
        documents = itertools.chain([str(group.documents.candidates)], group.documents.texts)
        numbers = [group.rows[row] for row in chosen]
        return [
            digest(__version__, options, numbers, ROW_BLOCK),
            whole,
            fingerprint_texts(documents),
            *group.facts,
        ]

    return Finished(place.place("rows", facts))


def _check(
    rows: Sequence[Example],
    texts: Sequence[str] | None,
    options: MiningOptions,
    encoder: Vectors | None,
) -> None:
    if not rows:
        raise InputError("examples: empty; give at least one row to mine negatives for")
    wrong = next((number for number, row in enumerate(rows) if not isinstance(row, Example)), None)
    if wrong is not None:
        raise InputError(
            f"examples[{wrong}]: expected an Example (got {type(rows[wrong]).__name__})"
        )
    if (encoder is None) != (options.method == "bm25"):
        fault = "needs an encoder" if encoder is None else "does not use an encoder"
        raise InputError(
            f"method: {options.method!r} {fault}; bm25 ranks by words, dense and hybrid by vectors"
        )
    if texts is not None and not len(texts):
        raise InputError("corpus: no texts; give at least one that is not empty")
