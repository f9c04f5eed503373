"""Removal of training texts that evaluation sets hold too, exactly or nearly.

A model that has trained on its test set scores what it remembers. Exact copies are found by normal
form (without case, punctuation, white space and Unicode form). With the option `near`, near copies
are found too, in one of two ways:

- "jaccard": the share of word n-grams that two texts have in common, |A ∩ B| / |A ∪ B|
- "bm25": their BM25 score divided by the larger of the scores that each has for itself. Rare words
  count more than frequent ones, and their order does not count. NV-Embed v2 (arXiv 2405.17428)
  filters Emotion and AmazonCounterfactual by BM25. It publishes neither its threshold nor a
  normalization, so this one is ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from bothways.data.labeled.example import Example
from bothways.data.lexicon import Lexicon
from bothways.data.words import normal_form, words
from bothways.errors import InputError

NGRAM = 2
"""The words of an n-gram.

With 1 the order of words does not count. With 3 one changed word of ten costs six n-grams of
eleven.
"""


class Match(NamedTuple):
    """A training text and the evaluation text it copies. `similarity` is 1 for an exact copy."""

    text: str
    evaluation: str
    similarity: float
    exact: bool

    def __str__(self) -> str:
        kind = "copy" if self.exact else f"near copy ({self.similarity:.2f})"
        return f"{kind}: {_short(self.text)} ~ {_short(self.evaluation)}"


class Overlap:
    """Evaluation texts, and the search for copies of them."""

    def __init__(
        self,
        texts: Iterable[str],
        *,
        near: float | None = None,
        method: Literal["jaccard", "bm25"] = "jaccard",
        ngram: int = NGRAM,
    ) -> None:
        """Index the evaluation texts. Empty ones and repetitions are skipped.

        Args:
            texts: the texts that must not be trained on.
            near: the similarity in (0, 1] from which a text counts as a copy. If None, only exact
                copies are found.
            method: the measure of near copies.
            ngram: the number of words of an n-gram of "jaccard". A text with fewer words is one
                n-gram.

        Raises:
            InputError: `near`, `method` or `ngram` is out of range, or there is no evaluation text.
            MissingExtra: "bm25" without bm25s.
        """
        if near is not None and not 0 < near <= 1:
            raise InputError(
                f"near: {near}; expected a similarity above 0 and at most 1, or none to find only exact copies"
            )
        if method not in ("jaccard", "bm25"):
            raise InputError(f"method: {method!r}; expected 'jaccard' or 'bm25'")
        if ngram < 1:
            raise InputError(f"ngram: {ngram}; expected at least 1 word")
        self.near, self.method, self.ngram = near, method, ngram
        self._exact: dict[str, str] = {}
        for text in texts:
            if text and not text.isspace():
                self._exact.setdefault(normal_form(text), text)
        if not self._exact:
            raise InputError(
                "overlap: no evaluation text that is not empty; name the sets that must not be trained on"
            )
        self._texts = list(self._exact.values())
        if near is not None and method == "jaccard":
            self._index_ngrams()
        elif near is not None:
            self._lexicon = Lexicon(self._texts, "finding near copies by BM25")
            self._own = np.array([self._lexicon.own_score(text) for text in self._texts])

    def __len__(self) -> int:
        """Return the number of different evaluation texts."""
        return len(self._texts)

    def find(self, text: str) -> Match | None:
        """Return the evaluation text that `text` copies, the closest one if several, or None."""
        exact = self._exact.get(normal_form(text))
        if exact is not None:
            return Match(text, exact, 1.0, True)
        if self.near is None:
            return None
        place, similarity = (
            self._by_ngrams(text) if self.method == "jaccard" else self._by_score(text)
        )
        return (
            Match(text, self._texts[place], similarity, False) if similarity >= self.near else None
        )

    def first(self, texts: Iterable[str]) -> Match | None:
        """Return the match of the first text that has one, or None."""
        return next((match for text in texts if (match := self.find(text)) is not None), None)

    def _index_ngrams(self) -> None:
        self._sizes: list[int] = []
        self._holders: dict[tuple[str, ...], list[int]] = {}
        for place, text in enumerate(self._texts):
            grams = self._ngrams(text)
            self._sizes.append(len(grams))
            for gram in grams:
                self._holders.setdefault(gram, []).append(place)

    def _ngrams(self, text: str) -> set[tuple[str, ...]]:
        found = words(text)
        if len(found) <= self.ngram:
            return {tuple(found)} if found else set()
        return {
            tuple(found[place : place + self.ngram]) for place in range(len(found) - self.ngram + 1)
        }

    def _by_ngrams(self, text: str) -> tuple[int, float]:
        grams = self._ngrams(text)
        shared: Counter[int] = Counter()
        for gram in grams:
            shared.update(self._holders.get(gram, ()))
        best = (0, 0.0)
        for place, count in sorted(shared.items()):
            similarity = count / (len(grams) + self._sizes[place] - count)
            if similarity > best[1]:
                best = (place, similarity)
        return best

    def _by_score(self, text: str) -> tuple[int, float]:
        own = np.maximum(self._own, self._lexicon.own_score(text))
        share = np.divide(self._lexicon.scores(text), own, out=np.zeros(len(own)), where=own > 0)
        place = int(share.argmax())
        return place, min(1.0, float(share[place]))


def remove_overlap(
    examples: Sequence[Example], overlap: Overlap, *, documents: bool = True
) -> tuple[list[Example], list[Match], int]:
    """Return examples without the texts that evaluation data holds.

    An example is removed if its query or all of its positives are held. A single positive or
    negative that is held is taken out of its example, with its score.

    Args:
        examples: training data.
        overlap: the evaluation texts.
        documents: look at positives and negatives too. Use False if training and evaluation share a
            corpus, as the splits of a retrieval collection do.

    Returns:
        The examples that remain, every match, and the number of examples that were removed.
    """
    kept: list[Example] = []
    matches: list[Match] = []
    found: dict[str, Match | None] = {}  # documents recur in many examples

    def held(text: str) -> bool:
        if text not in found:
            found[text] = overlap.find(text)
        match = found[text]
        if match is not None:
            matches.append(match)
        return match is not None

    for example in examples:
        if held(example.query):
            continue
        if documents:
            positives = [place for place, text in enumerate(example.positives) if not held(text)]
            negatives = [place for place, text in enumerate(example.negatives) if not held(text)]
            if not positives:
                continue
            example = _select(example, positives, negatives)
        kept.append(example)
    return kept, matches, len(examples) - len(kept)


def _select(example: Example, positives: list[int], negatives: list[int]) -> Example:
    if len(positives) == len(example.positives) and len(negatives) == len(example.negatives):
        return example
    right, wrong = example.positive_scores, example.negative_scores
    return replace(
        example,
        positives=tuple(example.positives[place] for place in positives),
        negatives=tuple(example.negatives[place] for place in negatives),
        positive_scores=None if right is None else tuple(right[place] for place in positives),
        negative_scores=None if wrong is None else tuple(wrong[place] for place in negatives),
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else line[:59] + "…")
