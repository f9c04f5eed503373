"""Mining of hard negatives: `mine`.

For every row the corpus is ranked by BM25, by a model or by both, known answers are taken out, and of the ranks in a window those are
kept that score clearly below the row's answers (positive-aware mining: NV-Retriever, Moreira et al. 2024, arXiv 2407.15831, used by
NV-Embed, arXiv 2405.17428). Without that limit many hard negatives are answers that nobody labelled.

Memory: the texts, one block of rows, one block of document vectors; with BM25 its index. Vectors lie on disk.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bothways import __version__
from bothways.data.decontamination import Overlap
from bothways.data.fingerprint import fingerprint_texts
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.foreign import foreign
from bothways.mining.corpus import read_corpus
from bothways.mining.filters import Rule
from bothways.mining.group import Group, Prompting, grouped
from bothways.mining.known import Known
from bothways.mining.options import Empty, Fill, Method, MiningOptions, Sampling
from bothways.mining.sample import Sample, make_sample, sampled_rows
from bothways.mining.select import Choice
from bothways.mining.statistics import Counts, Statistics
from bothways.mining.work_folder import REMOVE, Finished, Work, digest, workspace
from bothways.progress import Progress
from bothways.search.dense import Backend
from bothways.search.shards import Store
from bothways.search.vectors import Vectors

ROW_BLOCK = 1024  # rows searched together, and what a kill loses; each block reads the document vectors once

_FREE = ("empty", "backend")  # options that change no choice


@dataclass(frozen=True)
class Mined:
    """What mining gives.

    Attributes:
        examples: the rows in order, with mined negatives in place of those they had. With vectors they carry the scores of
            positives and negatives, a teacher's if the encoder is one. BM25's scores are not: they stay in the statistics.
        statistics: the account.
        samples: some rows with everything that was seen of them.
    """

    examples: list[Example]
    statistics: Statistics
    samples: list[Sample]


def mine(
    examples: Iterable[Example],
    corpus: Sequence[str] | str | Path | None = None,
    *,
    method: Method = "bm25",
    encoder: Any = None,
    negatives: int = 7,
    window: tuple[int, int] | Literal["auto"] = "auto",
    perc: float | Literal["auto"] | None = "auto",
    margin: float | None = None,
    relative_margin: float | None = None,
    max_score: float | None = None,
    sampling: Sampling = "top",
    seed: int = 0,
    fill: Fill | Literal["auto"] = "auto",
    exclude: Sequence[Rule] = (),
    same_label: bool = True,
    without: Overlap | None = None,
    empty: Empty = "keep",
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    backend: Backend = "exact",
    store: Store = "float32",
    batch_tokens: int | None = None,
    sample: int = 0,
    work: str | Path | None = None,
    progress: bool | None = None,
) -> Mined:
    """Find hard negatives for every row.

    A document never becomes a negative of a row if it is, in normal form, the query, a positive of the row or a positive of any row
    with the same query. Limits are taken from the lowest-scored of these positives. With "bm25" limits are shares and distances of
    BM25 scores, which are not cosines. There is none by default, since an answer in other words than its query's scores near zero,
    and then every ranked document reaches a share of that score. The window guards instead, and random texts fill up.

    Args:
        examples: the rows.
        corpus: texts; a BEIR folder, its corpus.jsonl, or any source of texts; None for the positives and negatives of the examples,
            task by task.
        method: "bm25", "dense" or "hybrid".
        encoder: for the latter two: an Encoder, a SentenceTransformer, anything with `encode`, or a function of a list of texts.
        negatives, window, perc, margin, relative_margin, max_score, sampling, seed, fill, same_label, empty, backend, store: see
            `MiningOptions`.
        exclude: rules of the caller, asked about every document that has passed everything else; rows are then not kept in `work`.
        without: evaluation texts that must not become negatives.
        query_prompt, document_prompt: before every text, "" for none; None for the row's own, and where a row has none, the encoder's.
        batch_tokens: tokens per pass, for encoders that know the word.
        sample: rows to keep in full, drawn by `seed`.
        work: folder for vectors and finished blocks; what it holds of the same model and data is used, so a killed run goes on.
        progress: show bars; None: when it takes long.

    Raises:
        InputError: no example, an empty corpus, an option out of range, or an encoder that cannot be used.
        MissingExtra: bm25s or faiss is not installed.
        OutputError: `work` cannot be written.
    """
    options = MiningOptions(
        method=method,
        negatives=negatives,
        window=window,
        perc=perc,
        margin=margin,
        relative_margin=relative_margin,
        max_score=max_score,
        sampling=sampling,
        seed=seed,
        fill=fill,
        empty=empty,
        same_label=same_label,
        backend=backend,
        store=store,
    )
    return mine_with(
        examples,
        corpus,
        options,
        encoder=None if encoder is None else Vectors(encoder, batch_tokens=batch_tokens),
        prompting=Prompting(query_prompt, document_prompt),
        rules=exclude,
        without=without,
        sample=sample,
        work=work,
        progress=progress,
    )


def mine_with(
    examples: Iterable[Example],
    corpus: Sequence[str] | str | Path | None,
    options: MiningOptions,
    *,
    encoder: Vectors | None = None,
    prompting: Prompting | None = None,
    rules: Sequence[Rule] = (),
    without: Overlap | None = None,
    sample: int = 0,
    work: str | Path | None = None,
    progress: bool | None = None,
    only: Collection[int] | None = None,
) -> Mined:
    """`mine` with its choices made; see there.

    Args:
        examples, corpus, options, rules, without, sample, work, progress: see `mine`.
        encoder, prompting: its encoder and prompts.
        only: numbers of the rows to mine for, None for all; the others stay as they are, and what they know holds for all.
    """
    rows = list(examples)
    texts = list(read_corpus(corpus)) if isinstance(corpus, (str, Path)) else corpus
    _check(rows, texts, options, encoder)
    prompting = prompting or Prompting()
    known = Known(rows, same_label=options.same_label)
    statistics = Statistics(options)
    finished = dict(enumerate(rows))
    samples: list[Sample] = []
    wanted = set(sampled_rows(len(rows), sample, options.seed))
    with workspace(work) as place:
        whole = fingerprint_texts(json.dumps(list(vars(row).values())) for row in rows) if place.kept else ""
        for numbers in grouped(rows, texts, options, prompting):
            asking = [row for row, number in enumerate(numbers) if only is None or number in only]
            if not asking:
                continue
            group = Group(rows, numbers, corpus=texts, known=known, options=options, rules=rules, without=without)
            if not group.documents.candidates:
                raise InputError("corpus: no text that is not empty and may become a negative")
            if texts is None or not statistics.documents:  # a corpus that all groups share counts once
                statistics.corpus(group.documents)
            group.open(place, encoder, prompting, show=progress)
            blocks = None if rules else _blocks(place, group, asking, whole)
            with Progress("mine", len(asking), "rows", show=progress) as bar:
                for found, counts in _mined(group, asking, blocks, bar.advance):
                    finished.update(found)
                    statistics.counts.merge(counts)
            local = [number for number, row in enumerate(group.rows) if row in wanted]
            chosen = group.choices_of(local) if local else []
            samples += [
                make_sample(group.rows[number], group.examples[number], choice, group.documents)
                for number, choice in zip(local, chosen)
            ]
    result = [finished[number] for number in range(len(rows))]
    statistics.examples(result)
    if options.method == "bm25":
        mined = set(finished) if only is None else set(only)
        result = [_unscored(row, rows[number]) if number in mined else row for number, row in enumerate(result)]
    if options.empty == "drop":
        result = [row for row in result if row.negatives]
    return Mined(result, statistics, sorted(samples, key=lambda each: each.row))


def _unscored(row: Example, before: Example) -> Example:
    """A mined row with the scores that its positives had before: BM25's are not a teacher's, which is what a row's scores mean."""
    return replace(row, positive_scores=before.positive_scores, negative_scores=None)


def _mined(
    group: Group, chosen: Sequence[int], blocks: Finished | None, advance: Callable[[int], None]
) -> Iterable[tuple[dict[int, Example], Counts]]:
    """The finished rows of each block by number, and what is counted of them; `chosen` of the group's own rows."""
    for number, first in enumerate(range(0, len(chosen), ROW_BLOCK)):
        block = chosen[first : first + ROW_BLOCK]
        kept = None if blocks is None else blocks.read(number)
        if kept is None:
            kept = _block(group.choices_of(block))
            if blocks is not None:
                blocks.write(number, kept)
        with foreign("a block of rows" if blocks is None else blocks.path(number), "is not what mining wrote there", REMOVE):
            found = _rows(group, block, kept), Counts.from_dict(kept["counts"])
        advance(len(block))
        yield found


def _rows(group: Group, block: Sequence[int], kept: Mapping[str, Any]) -> dict[int, Example]:
    """The rows of a block with what was chosen for them, by number."""
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


def _place(place: Any, count: int) -> int:
    if type(place) is not int or not 0 <= place < count:
        raise ValueError(f"a text is numbered {place!r:.40}, and there are {count}")
    return place


def _block(choices: Sequence[Choice]) -> dict[str, Any]:
    counts = Counts()
    for choice in choices:
        counts.add(choice)
    return {"rows": [[each.places, each.scores, each.positive_scores] for each in choices], "counts": counts.as_dict()}


def _blocks(place: Work, group: Group, chosen: Sequence[int], whole: str) -> Finished | None:
    """Where finished blocks of this group are kept; nowhere if nobody could find them again."""
    if not place.kept:
        return None

    def facts() -> list[str]:
        options = {name: value for name, value in asdict(group.options).items() if name not in _FREE}
        documents = itertools.chain([str(group.documents.candidates)], group.documents.texts)
        numbers = [group.rows[row] for row in chosen]
        return [digest(__version__, options, numbers, ROW_BLOCK), whole, fingerprint_texts(documents), *group.facts]

    return Finished(place.place("rows", facts))


def _check(rows: Sequence[Example], texts: Sequence[str] | None, options: MiningOptions, encoder: Vectors | None) -> None:
    if not rows:
        raise InputError("examples: none to mine negatives for")
    wrong = next((number for number, row in enumerate(rows) if not isinstance(row, Example)), None)
    if wrong is not None:
        raise InputError(f"examples[{wrong}]: expected an Example (got {type(rows[wrong]).__name__})")
    if (encoder is None) != (options.method == "bm25"):
        what = "needs an encoder" if encoder is None else "takes no encoder"
        raise InputError(f"method: {options.method!r} {what}; bm25 is for words, dense and hybrid are for vectors")
    if texts is not None and not len(texts):
        raise InputError("corpus: holds no text; give at least one that is not empty")
