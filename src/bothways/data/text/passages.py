"""Consecutive passages: a text and the one that follows it, from which LLaRA learns.

Documents are cut at the ends of sentences into passages of nearly a given number of tokens. Each
passage is paired with the next one of its document, never with one of another document. Files with
the columns {input, output_summarize, output_predict}, as the authors publish theirs (FlagEmbedding,
research/LLARA, hub dataset cfli/pretrain_wiki), are pairs already.

`documents` decides the extent of a document. Here the columns of a labeled file, such as a premise
or a query, may hold documents too.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bothways.data.columns import NoKnownColumn, text_in
from bothways.data.rows import TEXT_COLUMN, format_of, iter_lines, iter_rows
from bothways.data.splits import training_rows, warn_left_out
from bothways.data.text.documents import DocumentUnit, txt_documents
from bothways.data.text.readers import TextColumn, iter_texts
from bothways.data.text.sentences import join_sentences, sentences
from bothways.data.text_sources import TextSource, iter_hub_rows, resolve_texts
from bothways.errors import InputError

log = logging.getLogger("bothways")

COLUMNS = ("input", "output_summarize", "output_predict")


@dataclass(frozen=True)
class Passage:
    """One pair.

    Attributes:
        input: the text that is read.
        summarize: the text that the first embedding has to hold the words of. It is the input.
        predict: the text that the second embedding has to predict the words of, "" if nothing
            follows.
    """

    input: str
    summarize: str
    predict: str


def read_passages(
    source: str | Path,
    *,
    column: str | None = None,
    limit: int | None = None,
    unit: DocumentUnit = "auto",
) -> list[str | Passage]:
    """Read documents, which are cut later, or finished pairs, in order.

    Args:
        source: a file (.txt, .json, .jsonl, .csv, .tsv, .parquet, each also compressed), a folder
            of such files, a hub dataset, or `python-stdlib`.
        column: the column of the document. If None, it is found by its name.
        limit: the maximum number of documents or pairs. If None, read everything.
        unit: how a .txt file is cut. "auto" takes its articles if they are marked, and otherwise
            the whole file. "line" takes each line.

    Returns:
        A string for each document and a `Passage` for each pair.

    Raises:
        InputError: a broken file, a missing column, a value that is not a text, or nothing to read.
        SourceError: the source cannot be found or reached.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit: {limit} documents; expected at least 1, or None for all")
    found: list[str | Passage] = []
    resolved = resolve_texts(source)
    warn_left_out(resolved.name, resolved.left_out)
    # a few documents of a large hub dataset are streamed; a whole one is worth a place in the cache
    for item in _items(resolved, column, unit, streaming=limit is not None):
        if isinstance(item, Passage) or item.strip():
            found.append(item)
        if len(found) == limit:
            break
    if not found:
        raise InputError(
            f"{resolved.label}: holds no text; give at least one document that is not empty"
        )
    pairs = sum(isinstance(item, Passage) for item in found)
    log.info(
        "%s: %d documents, %d finished pairs of passages", resolved.label, len(found) - pairs, pairs
    )
    return found


def _items(
    source: TextSource, column: str | None, unit: DocumentUnit, *, streaming: bool
) -> Iterator[str | Passage]:
    if source.kind == "embedded":
        yield from iter_texts(source.name, column=column)
        return
    if source.kind == "hub":
        yield from _rows(source.label, iter_hub_rows(source, streaming=streaming), column)
    for path in source.files:
        if format_of(path) == ".txt":
            yield from _txt(path, unit)
            continue
        try:
            yield from _rows(str(path), training_rows(str(path), iter_rows(path)), column)
        except NoKnownColumn as error:
            if source.kind != "folder":
                raise
            log.warning("%s; the folder's other files are read without it", error)


def _txt(path: Path, unit: DocumentUnit) -> Iterator[str]:
    texts = (
        (line for _, line in iter_lines(path))
        if unit == "line"
        else (row[TEXT_COLUMN] for _, row in txt_documents(path))
    )
    yield from (text for text in texts if text.strip())


def _rows(
    label: str, rows: Iterable[tuple[int, dict[str, Any]]], column: str | None
) -> Iterator[str | Passage]:
    chooser = TextColumn(label, column)
    for number, row in rows:
        if column is None and all(name in row for name in COLUMNS):
            values = [
                text_in(f"{label}, row {number}", row, name, surrogates="repair")
                for name in COLUMNS
            ]
            if values[0].strip():
                yield Passage(*values)
        else:
            text = chooser.text(number, row)
            if text.strip():
                yield text
    chooser.report()


def consecutive(
    items: Iterable[str | Passage], length: int, count: Callable[[list[str]], list[int]]
) -> tuple[list[Passage], int]:
    """Cut documents and pair each passage with the next. Finished pairs stay.

    Args:
        items: documents or pairs.
        length: the maximum number of tokens of a passage, at least 1.
        count: returns the number of tokens of each of several texts.

    Returns:
        The pairs, and the number of documents that are a single passage and so give no pair.
    """
    found: list[Passage] = []
    single = 0
    for item in items:
        if isinstance(item, Passage):
            found.append(item)
            continue
        parts = cut(item, length, count)
        found += [Passage(text, text, following) for text, following in itertools.pairwise(parts)]
        single += len(parts) == 1
    return found, single


def cut(text: str, length: int, count: Callable[[list[str]], list[int]]) -> list[str]:
    """Cut a document into passages of whole sentences, as many as `length` tokens hold.

    Only a sentence that is longer is cut itself.

    Args:
        text: the document.
        length: the maximum number of tokens. Sentences are counted one by one, so a passage may be
            a few tokens longer if the tokens of neighbors do not add up.
        count: returns the number of tokens of each of several texts.
    """
    whole = sentences(text)
    sizes = count(whole) if whole else []
    parts: list[str] = []
    held: list[str] = []
    used = 0
    for sentence, size in _shortened(whole, sizes, length, count):
        if held and used + size > length:
            parts.append(join_sentences(held))
            held, used = [], 0
        held.append(sentence)
        used += size
    return [*parts, join_sentences(held)] if held else parts


def _shortened(
    whole: Sequence[str], sizes: Sequence[int], length: int, count: Callable[[list[str]], list[int]]
) -> Iterator[tuple[str, int]]:
    for sentence, size in zip(whole, sizes):
        if size <= length or len(sentence) < 2:
            yield sentence, size
            continue
        pieces = _pieces(sentence, math.ceil(size / length))
        yield from _shortened(pieces, count(pieces), length, count)


def _pieces(sentence: str, parts: int) -> list[str]:
    """Return a sentence in at least two nearly equal parts, cut at spaces if there are any near."""
    parts = min(max(2, parts), len(sentence))
    ends = [round(len(sentence) * part / parts) for part in range(1, parts)]
    places = [0]
    for end in ends:
        blank = sentence.rfind(" ", places[-1] + 1, end)
        places.append(blank if blank > places[-1] else max(end, places[-1] + 1))
    places.append(len(sentence))
    return [piece for a, b in itertools.pairwise(places) if (piece := sentence[a:b].strip())]


def excerpts(items: Iterable[str | Passage], *, characters: int = 400, each: int = 16) -> list[str]:
    """Return a few short texts of every document, evenly spaced, for people to look at.

    Args:
        items: documents or pairs.
        characters: the maximum length of an excerpt.
        each: the maximum number of excerpts of a document.
    """
    found: list[str] = []
    for item in items:
        text = item.input if isinstance(item, Passage) else item
        step = max(characters, len(text) // each)
        parts = [
            " ".join(text[start : start + characters].split())
            for start in range(0, len(text), step)
        ]
        found += [part for part in parts if part][:each]
    return found
