"""Spans from word tags, and precision, recall and F1 of predicted spans by exact match.

The counting is that of the shared tasks (conlleval; Tjong Kim Sang & De Meulder 2003, section 2.4).
A predicted span counts if a gold span has the same type, first word and last word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bothways.errors import InputError


class Span(NamedTuple):
    """Words `start` to `end - 1` of a sentence, which together are one `kind`."""

    kind: str
    start: int
    end: int


class SpanScore(NamedTuple):
    """Precision, recall and F1 of exact matches, all in [0, 1].

    Precision is 0 if nothing was predicted. Recall is 0 if there are no gold spans.
    """

    precision: float
    recall: float
    f1: float


def spans(tags: Sequence[str]) -> list[Span]:
    """Return the spans of one sentence, in order.

    One rule reads IOB1 (B- only between neighbors of one type), IOB2 (B- opens every span) and
    anything that a classifier predicts. A span begins at a B-, and at an I- that follows O or
    another type. It ends before the next beginning or O.

    For example, `["I-PER", "I-PER", "O", "B-LOC"]` has the spans `PER` 0 to 2 and `LOC` 3 to 4.
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
    """Return tags of the same spans, with a B- at the start of each.

    For example, `["I-PER", "I-PER"]` becomes `("B-PER", "I-PER")`.
    """
    opened = {span.start for span in spans(tags)}
    return tuple(f"B-{tag[2:]}" if place in opened else tag for place, tag in enumerate(tags))


def score_spans(
    gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]
) -> tuple[SpanScore, dict[str, SpanScore]]:
    """Count exact matches over all sentences (micro average) and for each type.

    Args:
        gold: tags of every sentence.
        predicted: tags of the same sentences.

    Returns:
        The score over all types, and a score by type.

    Raises:
        InputError: if a sentence has more tags on one side than on the other.
    """
    right: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for number, (truth, guess) in enumerate(zip(gold, predicted, strict=True)):
        if len(truth) != len(guess):
            raise InputError(
                f"sentence {number}: {len(guess)} predicted tags for {len(truth)} words"
            )
        true_spans, found = set(spans(truth)), set(spans(guess))
        wanted.update(span.kind for span in true_spans)
        given.update(span.kind for span in found)
        right.update(span.kind for span in true_spans & found)
    by_kind = {
        kind: _score(right[kind], given[kind], wanted[kind]) for kind in sorted(wanted | given)
    }
    return _score(right.total(), given.total(), wanted.total()), by_kind


def _score(right: int, given: int, wanted: int) -> SpanScore:
    precision = right / given if given else 0.0
    recall = right / wanted if wanted else 0.0
    return SpanScore(precision, recall, 2 * right / (given + wanted) if given + wanted else 0.0)
