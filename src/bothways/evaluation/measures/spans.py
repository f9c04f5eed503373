"""Spans from word tags, and how many of them were found: precision, recall and F1 by exact match.

The counting is that of the shared tasks (conlleval; Tjong Kim Sang & De Meulder 2003, section 2.4): a predicted span counts where a
gold span has the same type, first and last word. Names: n words of a sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bothways.errors import InputError


class Span(NamedTuple):
    """Words `start` to `end - 1` of a sentence are one `kind`."""

    kind: str
    start: int
    end: int


class SpanScore(NamedTuple):
    """Exact matches: all in [0, 1]; 0 where nothing was predicted, or nothing was to be found."""

    precision: float
    recall: float
    f1: float


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of one sentence, in order.

    One rule reads IOB1 (B- only between neighbours of one type), IOB2 (B- opens every span) and whatever a classifier predicts: a span
    begins at a B-, and at an I- whose predecessor is O or of another type; it ends before the next beginning or O.
    """
    found: list[Span] = []
    kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        inside = tag.partition("-")[2]
        if kind and (inside != kind or tag.startswith("B-")):
            found.append(Span(kind, start, place))
            kind = ""
        if inside and not kind:
            kind, start = inside, place
    return found


def to_iob2(tags: Sequence[str]) -> tuple[str, ...]:
    """The same spans, every one opened by B-."""
    opened = {span.start for span in spans(tags)}
    return tuple(f"B-{tag[2:]}" if place in opened else tag for place, tag in enumerate(tags))


def score_spans(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> tuple[SpanScore, dict[str, SpanScore]]:
    """Exact matches over all sentences (micro), and for each type.

    Args:
        gold: tags of every sentence.
        predicted: tags of the same sentences.

    Raises:
        InputError: a sentence whose two sides differ in length.
    """
    right: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for number, (truth, guess) in enumerate(zip(gold, predicted, strict=True)):
        if len(truth) != len(guess):
            raise InputError(f"sentence {number}: {len(guess)} predicted tags for {len(truth)} words")
        true_spans, found = set(spans(truth)), set(spans(guess))
        wanted.update(span.kind for span in true_spans)
        given.update(span.kind for span in found)
        right.update(span.kind for span in true_spans & found)
    by_kind = {kind: _score(right[kind], given[kind], wanted[kind]) for kind in sorted(wanted | given)}
    return _score(right.total(), given.total(), wanted.total()), by_kind


def _score(right: int, given: int, wanted: int) -> SpanScore:
    precision = right / given if given else 0.0
    recall = right / wanted if wanted else 0.0
    return SpanScore(precision, recall, 2 * right / (given + wanted) if given + wanted else 0.0)
