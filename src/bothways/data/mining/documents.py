"""What negatives are taken from: the texts of a corpus, each once, and where the answers of the examples stand among them.

Copies are told by normal form (case, punctuation, white space aside): of two copies one would be the other's hard negative, and a copy
of an answer would be a false one. Answers that the corpus does not hold to the letter are listed behind it: they are scored, since
limits depend on them, and never found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bothways.data.beir import iter_documents
from bothways.data.conversion.lexical import normal_form
from bothways.data.examples import Example
from bothways.data.overlap import Overlap
from bothways.data.readers import iter_texts
from bothways.data.rows import format_of, iter_rows, plain_or_gzipped


class Documents:
    """Candidates, then the answers that are no candidates.

    Attributes:
        texts: all of them.
        candidates: how many of them, from the first, may become negatives.
        by_key: normal form -> place of the candidate.
        places: text -> place, of every answer.
        given, empty, copies, held: texts of the corpus, and those left out as empty, as copies, as held by evaluation data.
    """

    def __init__(self, texts: Iterable[str], answers: Iterable[str], without: Overlap | None = None) -> None:
        """List the texts.

        Args:
            texts: the corpus.
            answers: the positives of all examples that are mined here.
            without: evaluation texts, none of which may become a negative.
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
    """The corpus that examples are by themselves: their positives and the negatives they have."""
    for example in examples:
        yield from example.positives
        yield from example.negatives


def read_corpus(source: str | Path, *, column: str | None = None) -> Iterator[str]:
    """The texts of a corpus, in order.

    Args:
        source: a BEIR folder or its corpus.jsonl (title, a space, text); or anything that `iter_texts` reads.
        column: the text's column, where it is not found by its name.

    Raises:
        InputError, SourceError: as `iter_texts` does.
    """
    path = Path(source)
    if path.is_dir():
        path = plain_or_gzipped(path / "corpus.jsonl") or path
    if column is None and path.is_file() and format_of(path) == ".jsonl":
        first = next(iter_rows(path), None)
        if first is not None and {"_id", "text"} <= first[1].keys():
            return (text for _, _, text in iter_documents(path))
    return iter_texts(path if path.exists() else source, column=column)
