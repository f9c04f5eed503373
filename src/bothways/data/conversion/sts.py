"""Scored sentence pairs as retrieval of the sentence that means the same.

In NV-Embed (arXiv 2405.17428) pairs that score at least 4 of 5 are positives of each other, so they
make two examples, (a, b) and (b, a). Negatives are other texts of the set: those that BM25 ranks
highest and that the annotators did not score above 2.5 with the query. The paper takes ranks from 2
on in a pool of all texts. The pool holds the query itself, which is taken as its rank 1.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

from bothways.data.conversion.converted import Converted
from bothways.data.conversion.options import CEILING, THRESHOLD, StsOptions
from bothways.data.decontamination import Overlap
from bothways.data.labeled.example import Example
from bothways.data.labeled.graded_pairs import Pairs
from bothways.data.lexicon import Lexicon
from bothways.data.words import normal_form
from bothways.errors import InputError
from bothways.progress import Progress

__all__ = ["CEILING", "SCALE", "THRESHOLD", "directed_pairs"]

SCALE = 5.0
"""The highest score of STS and SICK."""


def directed_pairs(pairs: Pairs, options: StsOptions | None = None) -> Converted:
    """Return examples of the pairs that have a high score, in both directions.

    Args:
        pairs: pairs with scores on one scale.
        options: if None, the defaults. Pairs that hold one of the texts of `without` are not used.

    Returns:
        Examples in the order of their pairs. Texts that are connected by scores above the ceiling
        share a label if they are more than one pair, so that neither a batch nor later mining makes
        them each other's negatives.

    Raises:
        InputError: a number is out of range, or no pair reaches the threshold.
        MissingExtra: "bm25" without bm25s.
    """
    options = options or StsOptions()
    _check(options)
    converted = Converted(rows=len(pairs))
    kept = _kept(pairs, converted, options.without)
    related, texts = _relations(kept, options.ceiling)
    positives = _positives(kept, options.threshold, converted)
    if not positives:
        raise InputError(
            f"none of {len(pairs)} pairs scores at least {options.threshold:g}; check the scale of the scores"
        )
    labels = _labels(related)
    pick = _Picker(texts, related, options)
    with Progress("negatives", len(positives), "examples") as progress:
        for query, positive in positives:
            converted.examples.append(
                Example(
                    query,
                    (positive,),
                    tuple(pick(query)) if options.negatives else (),
                    query_prompt=options.prompts.query,
                    document_prompt=options.prompts.document,
                    task=options.task,
                    label=labels.get(normal_form(query)),
                )
            )
            progress.advance()
    return converted


def _check(options: StsOptions) -> None:
    if not options.ceiling < options.threshold:
        raise InputError(
            f"ceiling {options.ceiling:g} and threshold {options.threshold:g}: a negative must score below a positive"
        )
    chosen_by = options.chosen_by
    if options.negatives < 0 or options.first_rank < 1 or chosen_by not in ("bm25", "random"):
        raise InputError(
            f"negatives {options.negatives}, first_rank {options.first_rank}, chosen_by {chosen_by!r}; "
            "expected at least 0, at least 1, 'bm25' or 'random'"
        )


Scored = tuple[int, str, str, float]
"""The place in the data, counted from 1, the two texts, and their score."""


def _kept(pairs: Pairs, converted: Converted, without: Overlap | None) -> list[Scored]:
    kept: list[Scored] = []
    rows = zip(pairs.first, pairs.second, pairs.scores)
    for number, (first, second, score) in enumerate(rows, start=1):
        if not first.strip() or not second.strip():
            converted.drop("with an empty text", number)
        elif not (without and converted.overlaps(without.first((first, second)), number)):
            kept.append((number, first, second, score))
    return kept


def _relations(pairs: list[Scored], ceiling: float) -> tuple[dict[str, set[str]], dict[str, str]]:
    """Return which texts are related, and every text once, both by normal form.

    A text is related to itself and to those that score above the ceiling with it.
    """
    texts: dict[str, str] = {}
    related: dict[str, set[str]] = {}
    for _, first, second, score in pairs:
        one, two = normal_form(first), normal_form(second)
        for key, text in ((one, first), (two, second)):
            texts.setdefault(key, text)
            related.setdefault(key, {key})
        if score > ceiling:
            related[one].add(two)
            related[two].add(one)
    return related, texts


def _labels(related: dict[str, set[str]]) -> dict[str, str]:
    """Return normal form -> a name that all connected texts share, if they are more than two."""
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for start in related:
        if start in seen:
            continue
        family, open_ends = {start}, [start]
        while open_ends:
            further = related[open_ends.pop()] - family
            family |= further
            open_ends += further
        seen |= family
        if len(family) > 2:
            name = hashlib.sha256(start.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            labels.update(dict.fromkeys(family, name))
    return labels


def _positives(
    pairs: list[Scored], threshold: float, converted: Converted
) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    for number, first, second, score in pairs:
        if score < threshold:
            converted.drop(f"scored below {threshold:g}", number)
        elif (first, second) in found:
            converted.drop("repeated", number)
        else:
            found[first, second] = None
            found[second, first] = None
    return list(found)


class _Picker:
    """Picks the negatives of a query: texts that are not related to it."""

    def __init__(
        self, texts: dict[str, str], related: dict[str, set[str]], options: StsOptions
    ) -> None:
        self.keys, self.texts, self.related = list(texts), texts, related
        self.count, self.first_rank = options.negatives, options.first_rank
        self.draw = random.Random(f"{options.seed}:sts")
        self.lexicon: Lexicon | None = None
        if options.chosen_by == "bm25" and options.negatives:
            self.lexicon = Lexicon(list(texts.values()), "BM25 negatives of STS pairs")

    def __call__(self, query: str) -> list[str]:
        own = normal_form(query)
        found: list[str] = []
        for key in self._candidates(own, query):
            if key not in self.related[own]:
                found.append(self.texts[key])
            if len(found) == self.count:
                break
        return found

    def _candidates(self, own: str, query: str) -> Iterator[str]:
        if self.lexicon is None:
            order = self.draw.sample(range(len(self.keys)), len(self.keys))
            yield from (self.keys[place] for place in order)
            return
        # deep enough for every rank that may be skipped: the query, the first ranks, related texts
        depth = self.count + self.first_rank + len(self.related[own])
        ranking = self.lexicon.ranking(query, depth)
        others = [self.keys[place] for place in ranking if self.keys[place] != own]
        yield from others[self.first_rank - 1 :]
