"""The documents of mining: the texts of a corpus, each once, and the examples' answers.

Texts with the same normal form (which ignores case, punctuation and white space) are copies. Of two
copies one would become the other's hard negative, and a copy of an answer would be a false
negative. Answers that the corpus does not contain literally are listed after it. They are scored,
because limits depend on them, but never found.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bothways.data.decontamination import Overlap
from bothways.data.formats.shard_names import check_complete
from bothways.data.labeled.dialects import detect
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.labeled.labeled_row import Fields, Reading
from bothways.data.retrieval_folder import corpus_files
from bothways.data.rows import Row, iter_rows
from bothways.data.splits import current_snapshot, training_rows
from bothways.data.text.readers import iter_texts
from bothways.data.text_sources import iter_hub_rows, resolve_texts
from bothways.data.words import normal_form

log = logging.getLogger("bothways")

_IDS = ("_id", "docid")


class Documents:
    """Candidates, followed by answers that are not candidates.

    Attributes:
        texts: all of them.
        candidates: number of texts, from the first, that may become negatives.
        by_key: normal form -> place of the candidate.
        places: text -> place, of every answer.
        given: number of texts in the corpus.
        empty: number of texts left out because they are empty.
        copies: number of texts left out as copies.
        held: number of texts left out because evaluation data contains them.
    """

    def __init__(
        self, texts: Iterable[str], answers: Iterable[str], without: Overlap | None = None
    ) -> None:
        """List the texts.

        Args:
            texts: the corpus.
            answers: positives of all examples that are mined here.
            without: evaluation texts, which must not become negatives.
        """
        self.texts: list[str] = []
        self.by_key: dict[str, int] = {}
        self.given = self.empty = self.copies = self.held = 0
        for text in texts:
            self.given += 1
            if not text or text.isspace():
                self.empty += 1
                continue
            key = normal_form(text)
            if key in self.by_key:
                self.copies += 1
            elif without is not None and without.find(text) is not None:
                self.held += 1
            else:
                self.by_key[key] = len(self.texts)
                self.texts.append(text)
        self.candidates = len(self.texts)
        self.places: dict[str, int] = {}
        for text in answers:
            if text in self.places:
                continue
            place = self.by_key.get(normal_form(text))
            if place is None or self.texts[place] != text:
                place = len(self.texts)
                self.texts.append(text)
            self.places[text] = place


def own_texts(examples: Sequence[Example]) -> Iterator[str]:
    """Yield the corpus that examples are themselves: their positives and negatives."""
    for example in examples:
        yield from example.positives
        yield from example.negatives


def read_corpus(source: str | Path, *, column: str | None = None) -> Iterator[str]:
    """Read the texts of a corpus, in order.

    For example, `read_corpus("beir/scifact")`. Documents with an id are BEIR's (`_id`) or
    Tevatron's (`docid`). Both put the title and a space before the text, and so do the passages of
    their training rows. A document without its title would not be recognized as one of those. The
    corpus of labeled rows is their positives and negatives.

    Args:
        source: a BEIR folder or its corpus.jsonl, a file or hub data set of such documents or of
            labeled rows, or anything that `iter_texts` reads.
        column: column of the text. If given, only this column is read. If None, it is found by its
            name.

    Raises:
        InputError: see `iter_texts`.
        SourceError: see `iter_texts`.
    """
    path = Path(source)
    if path.is_dir() and (files := _documents_in(path)):
        if column is None:
            return _all_titled(files)
        return itertools.chain.from_iterable(iter_texts(file, column=column) for file in files)
    source = path if path.exists() else source
    found = resolve_texts(source)
    if column is not None or found.kind not in ("file", "hub"):
        return iter_texts(source, column=column)
    rows = (
        iter_hub_rows(found) if found.kind == "hub" else training_rows(str(path), iter_rows(path))
    )
    first = next(rows, None)
    names = set() if first is None else first[1].keys()
    if first is not None and "text" in names and not names.isdisjoint(_IDS):
        return _titled(found.label, itertools.chain([first], rows))
    return (
        own_texts(read_examples(source)) if detect(list(names)) is not None else iter_texts(source)
    )


def _documents_in(folder: Path) -> tuple[Path, ...]:
    """Return the files of a retrieval folder's corpus, or of a folder of such files.

    For other folders the result is empty.

    Raises:
        InputError: if a shard is missing, or if a file is broken.
    """
    files = corpus_files(current_snapshot(folder))
    if files:
        check_complete(files)
        return files
    found = resolve_texts(folder)
    heads = [next((set(row) for _, row in iter_rows(file)), set[str]()) for file in found.files]
    return (
        found.files
        if all("text" in names and not names.isdisjoint(_IDS) for names in heads)
        else ()
    )


def _all_titled(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        yield from _titled(str(file), iter_rows(file))


def _titled(label: str, rows: Iterable[Row]) -> Iterator[str]:
    reading = Reading(label, "")
    for number, row in rows:
        fields = Fields(number, row, reading)
        title = fields.text("title") if row.get("title") is not None else ""
        yield f"{title} {fields.text('text')}".strip()
    if reading.repaired.counts:
        log.warning("%s: %s", label, reading.repaired)
