"""Vectors that need no model, and mining as a naive loop over all pairs in float64."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bothways.data.labeled.example import Example
from bothways.mining import mine

Function = Callable[[list[str]], np.ndarray]


def scattered(texts: Sequence[str]) -> np.ndarray:
    """A direction of its own for each text: hardly any two cosines tie."""
    return np.stack([np.random.default_rng(zlib.crc32(text.encode())).standard_normal(16) for text in texts])


def signs(texts: Sequence[str]) -> np.ndarray:
    """Sixteen ±1 for each text: every cosine is a multiple of 1/8, so very many tie, exactly."""
    return np.sign(scattered(texts))


def cosines(function: Function, query: str, documents: Sequence[str]) -> np.ndarray:
    """Float64, one pair at a time."""
    left = np.asarray(function([query]), dtype=np.float64)[0]
    right = [np.asarray(function([document]), dtype=np.float64)[0] for document in documents]
    return np.array([left @ other / np.sqrt((left @ left) * (other @ other)) for other in right])


def key(text: str) -> str:
    """Letters and digits alone, small."""
    return "".join(char for char in text.casefold() if char.isalnum())


def naive(
    examples: Sequence[Example],
    corpus: Sequence[str],
    score: Callable[[str, Sequence[str]], np.ndarray],
    *,
    negatives: int,
    window: tuple[int, int],
    below: Callable[[float], float],
    unranked: float | None = None,
) -> list[list[tuple[str, float]]]:
    """(negative, score) of each row.

    Args:
        score: of a query with texts.
        below: the limit for a lowest positive score.
        unranked: documents of this score are in no ranking.
    """
    distinct: dict[str, str] = {}
    for text in corpus:
        if text.strip():
            distinct.setdefault(key(text), text)
    found = []
    for example in examples:
        same = [row for row in examples if key(row.query) == key(example.query)]
        answers = [text for row in same for text in row.positives]
        never = {key(text) for text in answers} | {key(example.query)}
        labelled = [row for row in examples if example.label and (row.task, row.label) == (example.task, example.label)]
        never |= {key(text) for row in labelled for text in (row.query, *row.positives)}
        texts = list(distinct.values())
        scores = score(example.query, texts)
        order = sorted(range(len(texts)), key=lambda place: (-np.float32(scores[place]), place))
        ranked = [place for place in order if key(texts[place]) not in never and scores[place] != unranked]
        inside = ranked[window[0] - 1 : window[1]]
        limit = below(min(score(example.query, answers)))
        passed = [place for place in inside if scores[place] < limit - 1e-6 * abs(limit)]
        found.append([(texts[place], float(scores[place])) for place in passed[:negatives]])
    return found


def collection(rows: int = 40, texts: int = 150) -> tuple[list[Example], list[str]]:
    """Rows and a corpus with everything that is hard about them.

    Several positives, queries that occur twice with other answers, queries that are documents,
    copies of answers in other spelling, copies within the corpus, labels, and positives that the
    corpus does not hold.
    """
    corpus = [f"document number {number}" for number in range(texts)]
    examples = []
    for number in range(rows):
        positives = [corpus[(7 * number + step) % texts] for step in range(1 + number % 3)]
        if number % 5 == 0:
            positives.append(f"answer {number} that stands nowhere else")
        query = corpus[number] if number % 4 == 1 else f"question {number % 30}"
        examples.append(
            Example(query, tuple(positives), (corpus[-1 - number],), label=f"l{number % 6}" if number % 3 == 0 else None)
        )
    corpus += [text.upper() + "!" for text in corpus[:20]] + ["", "  "]
    return examples, corpus


def fan(texts: list[str]) -> np.ndarray:
    """Texts that end in a number have that cosine with those that do not."""
    numbers = [float(text.split()[-1]) if text[-1].isdigit() else 1.0 for text in texts]
    return np.array([[number, np.sqrt(1 - number * number)] for number in numbers])


def mined(examples: Sequence[Example], corpus: Sequence[str], **options: Any) -> list[tuple[str, ...]]:
    """The negatives of each row by the cosines of `fan`."""
    return [
        row.negatives for row in mine(examples, corpus, method="dense", encoder=fan, **{"negatives": 1, **options}).examples
    ]
