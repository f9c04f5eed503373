"""The texts of the four workloads, made from any source of texts.

| name | texts | asked |
|---|---|---|
| queries | 10 tokens each | one at a time |
| short | 10 tokens each, 10,000 at full scale | all in one call |
| paragraphs | the source's own texts, of mixed length | all in one call |
| documents | 2,000 tokens each, of texts in a row | all in one call |
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.nearest import did_you_mean

QUERY = 10
"""Tokens of a query."""
DOCUMENT = 2000
"""Tokens of a document, or fewer if the encoder does not read as many."""
PARAGRAPH = 512
"""Tokens of a paragraph at most. Longer texts belong to the documents."""
FULL = {"queries": 200, "short": 10_000, "paragraphs": 2_000, "documents": 40}
"""Texts of each workload at scale 1."""
LEAST = {"queries": 10, "short": 64, "paragraphs": 32, "documents": 2}
"""Texts of each workload at any scale."""
_FEWEST = 4
"""Tokens of the shortest text that is cut into a query."""


@dataclass(frozen=True)
class Workload:
    """Texts, and how they are asked for.

    Attributes:
        name: a key of `FULL`.
        texts: the texts.
        each: if True, ask for one text at a time, and time each.
        lengths: tokens of each text, special tokens included.
    """

    name: str
    texts: list[str]
    each: bool
    lengths: list[int]

    @property
    def tokens(self) -> int:
        """Number of tokens of all texts."""
        return sum(self.lengths)


def workloads(
    encoder: Encoder, texts: Sequence[str], scale: float, names: Sequence[str] = tuple(FULL)
) -> list[Workload]:
    """Make the workloads from texts.

    Texts are used again if a source has too few of them. Their order stays.

    Args:
        encoder: counts tokens.
        texts: any texts, for example paragraphs.
        scale: share of the full number of texts, for example 0.1 for 1,000 short queries.
        names: the workloads to make.

    Raises:
        InputError: if a name is unknown, or no text is long enough for a query.
    """
    for name in names:
        if name not in FULL:
            raise InputError(
                f"--workloads {name}: is not one of {', '.join(FULL)}{did_you_mean(name, FULL)}"
            )
    counts = {name: max(LEAST[name], round(FULL[name] * scale)) for name in names}
    made = []
    for name in FULL:
        if name not in counts:
            continue
        own = _texts(encoder, texts, name, counts[name])
        lengths = [len(row.ids) for row in encoder.tokenize(own)]
        made.append(Workload(name, own, name == "queries", lengths))
    return made


def _texts(encoder: Encoder, texts: Sequence[str], name: str, count: int) -> list[str]:
    if name == "paragraphs":
        return list(itertools.islice(itertools.cycle(_paragraphs(encoder, texts)), count))
    if name == "documents":
        return list(itertools.islice(_documents(encoder, texts), count))
    # queries and short queries are of different texts, as far as there are enough
    start = FULL["short"] if name == "queries" and len(texts) > FULL["short"] else 0
    queries: list[str] = []
    order = itertools.cycle([*texts[start:], *texts[:start]])
    for _ in range(20):  # most texts give several queries
        part = list(itertools.islice(order, min(len(texts), count)))
        queries += [query for text in part for query in _queries(encoder, text)]
        if len(queries) >= count or not queries:
            break
    if not queries:
        raise InputError(f"--texts: no text has {_FEWEST} tokens, so no query can be made")
    return list(itertools.islice(itertools.cycle(queries), count))


def _paragraphs(encoder: Encoder, texts: Sequence[str]) -> list[str]:
    """Return the texts that are short enough, or the beginnings of all texts if none is."""
    limit = min(PARAGRAPH, encoder.max_length or PARAGRAPH)
    rows = encoder.tokenize(list(texts), max_length=limit + 1)
    kept = [text for text, row in zip(texts, rows) if len(row.ids) <= limit]
    if kept:
        return kept
    rows = encoder.tokenize(list(texts), max_length=limit)
    return [text[: max(end for _, end in row.offsets)] for text, row in zip(texts, rows)]


def _queries(encoder: Encoder, text: str) -> Iterator[str]:
    """Cut a text into pieces of `QUERY` tokens. Its last piece may be shorter."""
    row = encoder.tokenize([text[: 100 * QUERY]])[0]
    spans = [(begin, end) for begin, end in row.offsets if end > begin]
    added = len(row.ids) - len(spans)
    size = max(1, QUERY - added)
    for start in range(0, min(len(spans), 8 * size), size):
        part = spans[start : start + size]
        piece = text[part[0][0] : part[-1][1]].strip()
        if len(part) >= min(_FEWEST, size) and piece:
            yield piece


def _documents(encoder: Encoder, texts: Sequence[str]) -> Iterator[str]:
    """Join texts in a row until they have `DOCUMENT` tokens, and cut them there."""
    limit = min(DOCUMENT, encoder.max_length or DOCUMENT)
    joined = ""
    for text in itertools.cycle(texts):
        joined = f"{joined}\n\n{text}" if joined else text
        if len(joined) < 2 * limit:  # tokens have more than two characters on average
            continue
        row = encoder.tokenize([joined], max_length=limit)[0]
        if len(row.ids) == limit:
            yield joined[: max(end for _, end in row.offsets)]
            joined = ""
