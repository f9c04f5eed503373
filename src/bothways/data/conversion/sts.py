"""Scored sentence pairs as retrieval of the sentence that means the same.

NV-Embed (arXiv 2405.17428): pairs that score at least 4 of 5 are positives of each other, hence two examples, (a, b) and (b, a);
negatives are other texts of the set, the best of BM25, none of which the annotators scored above 2.5 with the query. The paper takes
rank 2 and on in a pool of all texts; the query stands in it, and is taken as its rank 1.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Literal

from bothways.data.conversion.by_example import NEGATIVES
from bothways.data.conversion.converted import Converted
from bothways.data.decontamination import Overlap
from bothways.data.labeled.example import Example
from bothways.data.labeled.pairs import Pairs
from bothways.data.labeled.templates import Prompts
from bothways.data.words import Lexicon, normal_form
from bothways.errors import InputError
from bothways.progress import Progress

SCALE = 5.0  # the highest score of STS and SICK
THRESHOLD = 4.0
CEILING = 2.5
_FIRST_RANK = 1  # the paper's rank 2, whose pool holds the query itself at rank 1; related texts are left out by their scores

Chooser = Literal["bm25", "random"]


def directed_pairs(
    pairs: Pairs,
    *,
    threshold: float = THRESHOLD,
    ceiling: float = CEILING,
    negatives: int = NEGATIVES,
    chosen_by: Chooser = "bm25",
    first_rank: int = _FIRST_RANK,
    seed: int = 0,
    task: str = "sts",
    prompts: Prompts | None = None,
    without: Overlap | None = None,
) -> Converted:
    """Examples of pairs with a high score, in both directions.

    Args:
        pairs: with scores on one scale.
        threshold: least score of a positive; 4 of 5.
        ceiling: greatest score that a negative may have with the query, in either order; texts that were never scored with it count
            as unrelated. 2.5 of 5.
        negatives: how many each example gets; fewer where BM25 ranks fewer.
        chosen_by: "bm25" takes the highest ranks, "random" any.
        first_rank: with "bm25", the first rank that is taken, counted over the texts other than the query.
        seed: of random negatives.
        task: of the examples.
        prompts: of both sides.
        without: evaluation texts; pairs with one of them are not used, and it is no negative.

    Returns:
        Examples in the order of their pairs. Texts that scores above the ceiling connect share a label where they are more than one
        pair, so that neither a batch nor later mining makes them each other's negatives.

    Raises:
        InputError: a number out of range, or no pair that reaches the threshold.
        MissingExtra: "bm25" without bm25s.
    """
    if not ceiling < threshold:
        raise InputError(f"ceiling {ceiling:g} and threshold {threshold:g}: a negative must score below a positive")
    if negatives < 0 or first_rank < 1 or chosen_by not in ("bm25", "random"):
        raise InputError(
            f"negatives {negatives}, first_rank {first_rank}, chosen_by {chosen_by!r}; expected at least 0, at least 1, 'bm25' or "
            "'random'"
        )
    converted = Converted(rows=len(pairs))
    kept = _kept(pairs, converted, without)
    related, texts = _relations(kept, ceiling)
    positives = _positives(kept, threshold, converted)
    if not positives:
        raise InputError(f"none of {len(pairs)} pairs scores at least {threshold:g}; check the scale of the scores")
    query_prompt, document_prompt = prompts or Prompts()
    labels = _labels(related)
    pick = _Picker(texts, related, negatives, chosen_by, first_rank, seed)
    with Progress("negatives", len(positives), "examples") as progress:
        for query, positive in positives:
            converted.examples.append(
                Example(
                    query,
                    (positive,),
                    tuple(pick(query)) if negatives else (),
                    query_prompt=query_prompt,
                    document_prompt=document_prompt,
                    task=task,
                    label=labels.get(normal_form(query)),
                )
            )
            progress.advance()
    return converted


Scored = tuple[int, str, str, float]  # place in the data from 1, first, second, score


def _kept(pairs: Pairs, converted: Converted, without: Overlap | None) -> list[Scored]:
    kept: list[Scored] = []
    for number, (first, second, score) in enumerate(zip(pairs.first, pairs.second, pairs.scores), start=1):
        if not first.strip() or not second.strip():
            converted.drop("with an empty text", number)
        elif not (without and converted.overlaps(without.first((first, second)), number)):
            kept.append((number, first, second, score))
    return kept


def _relations(pairs: list[Scored], ceiling: float) -> tuple[dict[str, set[str]], dict[str, str]]:
    """Normal form -> those that score above the ceiling with it, itself included; and normal form -> text, each text once."""
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
    """Normal form -> one name for all that are connected to it; only where they are more than two texts."""
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


def _positives(pairs: list[Scored], threshold: float, converted: Converted) -> list[tuple[str, str]]:
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
    """Negatives of a query: texts that are not related to it."""

    def __init__(
        self, texts: dict[str, str], related: dict[str, set[str]], count: int, chosen_by: Chooser, first_rank: int, seed: int
    ) -> None:
        self.keys, self.texts, self.related = list(texts), texts, related
        self.count, self.first_rank = count, first_rank
        self.draw = random.Random(f"{seed}:sts")
        ranked = chosen_by == "bm25" and count
        self.lexicon = Lexicon(list(texts.values()), "BM25 negatives of STS pairs") if ranked else None

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
            yield from (self.keys[place] for place in self.draw.sample(range(len(self.keys)), len(self.keys)))
            return
        # deep enough for every rank that may be passed over: the query itself, the first ranks, and all that is related to it
        depth = self.count + self.first_rank + len(self.related[own])
        others = [self.keys[place] for place in self.lexicon.ranking(query, depth) if self.keys[place] != own]
        yield from others[self.first_rank - 1 :]
