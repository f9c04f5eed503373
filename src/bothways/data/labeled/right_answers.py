"""The texts that answer a query, over the whole data. None of them may be pushed away from it.

Answers are the query itself, the positives of every row with the same query, texts that have the
query as a positive (pairs of equals, as in STS, NLI and duplicates), and all texts of one of the
query's classes or clusters. Texts are compared in Unicode's NFC, with white space as single spaces.
Queries are also compared without case and without the mark at their end. Mining compares by a
looser form (`bothways.mining.known`): it may be careful, but a hard negative that users give may
differ from an answer by a single sign.

Numbers represent texts, so that millions of rows fit, and so that processes can compare theirs.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

from bothways.data.labeled.example import Example
from bothways.moved import old_names


def text_id(*parts: str) -> int:
    """Return a number in [0, 2^63) that represents texts, the same in every process."""
    joined = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "big") >> 1


def document_id(text: str) -> int:
    """Return the number of a text. White space and Unicode composition make no difference."""
    return text_id(_plain(text))


def query_id(text: str) -> int:
    """Return the number of a query. Case and the mark at its end make no difference either."""
    plain = _plain(text).casefold()
    return text_id("query", plain.rstrip(" .?!…？！。") or plain)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(text.split()))


class RightAnswers:
    """The answers of all rows that were added.

    Attributes:
        widest: the most labels that one text has.
    """

    def __init__(self) -> None:
        self.widest = 1
        self._others: dict[int, set[int]] = {}  # query -> the answers of other rows, if any
        self._labels: dict[int, set[int]] = {}  # text -> labels

    def add(self, rows: Sequence[Example]) -> None:
        """Add the answers and labels of rows. Adding them twice changes nothing."""
        queries: set[int] = set()
        repeated: set[int] = set()
        for row in rows:
            query = query_id(row.query)
            (repeated if query in queries else queries).add(query)
        for row in rows:
            query = query_id(row.query)
            if query in repeated:
                self._others.setdefault(query, set()).update(map(document_id, row.positives))
            for text in row.positives:
                reverse = query_id(text)
                if reverse in queries and reverse != query:
                    self._others.setdefault(reverse, set()).add(document_id(row.query))
            self._add_labels(row)

    def known(self, row: Example) -> list[int]:
        """Return the numbers of the query and of all texts that answer it, the row's own first."""
        own = dict.fromkeys(map(document_id, (row.query, *row.positives)))
        return [*own, *sorted(self._others.get(query_id(row.query), set()) - own.keys())]

    def labels(self, row: Example) -> list[int]:
        """Return the numbers of the row's classes or clusters."""
        return [text_id(row.task, label) for label in row.all_labels]

    def labels_of(self, text: int) -> list[int]:
        """Return the numbers of the classes or clusters of a text, which is given by its number."""
        return sorted(self._labels.get(text, ()))

    def wrong(self, row: Example, *, by_text: bool = True, by_label: bool = True) -> list[int]:
        """Return the places of the row's negatives that are answers after all."""
        if not row.negatives:
            return []
        known = set(self.known(row)) if by_text else set()
        labels = set(self.labels(row)) if by_label else set()
        found = []
        for place, text in enumerate(row.negatives):
            number = document_id(text)
            if number in known or not labels.isdisjoint(self._labels.get(number, ())):
                found.append(place)
        return found

    def _add_labels(self, row: Example) -> None:
        facts: list[tuple[str, Iterable[str]]] = []
        if row.all_labels:
            facts += [(row.query, row.all_labels), *zip(row.positives, row.labels_of_positives)]
        if row.negative_labels is not None:
            facts += zip(row.negatives, row.negative_labels)
        for text, labels in facts:
            found = self._labels.setdefault(document_id(text), set())
            found.update(text_id(row.task, label) for label in labels)
            self.widest = max(self.widest, len(found))


__getattr__ = old_names(__name__)
