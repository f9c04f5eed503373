"""The prefix test: whether a word's vector depends on the words that come after it.

This is LLM2Vec's analysis (arXiv 2404.05961, section 5.1). The triples q = (A, B), s+ = (A, C), s-
= (A, D) share a prefix A whose meaning depends on the continuation. C goes with B, and D does not
("He went to the bank" to deposit money / for a loan / to watch the swans). Only the tokens of A are
pooled, read inside their sentence. A causal model gives A the same vector three times, so cos(q,
s+) = cos(q, s-). An encoder that looks ahead should place q nearer to s+.

The 48 triples that come with the library are our own.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bothways.data.rows import iter_rows
from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.errors import DirectionError, InputError
from bothways.evaluation.inputs.named_data import data_fingerprint
from bothways.evaluation.probing.token_passes import pooled_rows, token_encoder
from bothways.evaluation.task import RunOptions, Score, Task
from bothways.similarity import pair_scores

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder

_FIELDS = ("prefix", "query", "same", "other")


@dataclass(frozen=True)
class Triple:
    """A prefix and three continuations.

    `query` and `same` give the prefix one meaning, `other` gives it another.
    """

    prefix: str
    query: str
    same: str
    other: str

    @property
    def sentences(self) -> tuple[str, str, str]:
        """Return q, s+ and s-."""
        return tuple(f"{self.prefix} {rest}" for rest in (self.query, self.same, self.other))  # type: ignore[return-value]


def read_triples(path: str | Path) -> list[Triple]:
    """Read rows with the columns prefix, query, same and other.

    For example, a row is `{"prefix": "He went to the bank", "query": "to deposit money", "same":
    "for a loan", "other": "to watch the swans"}`.

    Raises:
        InputError: if a column is missing or empty (with file and row), or if there are no rows.
        SourceError: if the file does not exist.
    """
    triples: list[Triple] = []
    for number, row in iter_rows(path):
        wrong = next(
            (
                name
                for name in _FIELDS
                if not isinstance(row.get(name), str) or not row[name].strip()
            ),
            None,
        )
        if wrong is not None:
            raise InputError(
                f"{path}, row {number}: column {wrong!r} is missing or not a text; a triple has {', '.join(_FIELDS)}"
            )
        triples.append(Triple(*(row[name].strip() for name in _FIELDS)))
    if not triples:
        raise InputError(f"{path}: no rows; give at least one row with {', '.join(_FIELDS)}")
    return triples


class Prefix(Task):
    """Share of triples with cos(q, s+) > cos(q, s-) (main) and share of ties, both in [0, 1].

    `margin` is the mean difference of the two cosines.
    """

    kind = "prefix"
    main = "share"

    def __init__(self, path: str | Path | None = None, *, name: str | None = None) -> None:
        """Read the triples.

        Args:
            path: a file with the columns prefix, query, same and other. If None, read the library's
                triples.
            name: name of the task in results. If None, `prefix` or `prefix:PATH`.

        Raises:
            InputError: see `read_triples`.
            SourceError: see `read_triples`.
        """
        if path is None:
            with importlib.resources.as_file(
                importlib.resources.files("bothways.evaluation.tasks") / "prefix_triples.jsonl"
            ) as own:
                self.triples = read_triples(own)
        else:
            self.triples = read_triples(path)
        self.name = name or ("prefix" if path is None else f"prefix:{path}")
        self.fingerprint = data_fingerprint(map(astuple, self.triples))

    @classmethod
    def from_argument(cls, argument: str | None) -> Prefix:
        """Make the task from `prefix`, or from `prefix:FILE` for your own triples.

        For example, `prefix:triples.jsonl`.
        """
        return cls(argument)

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Pool the prefixes inside their sentences, with the encoder's own pooling. See `Task.run`.

        Raises:
            DirectionError: if a prefix changes with its continuation although the encoder says it
                is causal.
        """
        model = token_encoder(encoder, "prefix")
        vectors = pooled_rows(model, prefix_rows(model, self.triples), options)
        query, same, other = vectors[0::3], vectors[1::3], vectors[2::3]
        near, far = (pair_scores(query, side, "cosine") for side in (same, other))
        margins = near - far
        limit = rounding(model)
        if model.direction == "causal" and np.abs(margins).max() > limit:
            worst = int(np.abs(margins).argmax())
            raise DirectionError(
                f"prefix test: the encoder says it is causal, but {self.triples[worst].prefix!r} changes with the words after it "
                f"(its cosines differ by {abs(margins[worst]):.1e}); run `bothways doctor`"
            )
        metrics = {
            "share": float((margins > limit).mean()),
            "ties": float((np.abs(margins) <= limit).mean()),
            "margin": float(margins.mean()),
        }
        triples = [
            {
                "prefix": t.prefix,
                "query": t.query,
                "same": t.same,
                "other": t.other,
                "cos_same": a,
                "cos_other": b,
            }
            for t, a, b in zip(self.triples, near.round(6).tolist(), far.round(6).tolist())
        ]
        return Score(metrics, {"tie_within": limit, "triples": triples})


def prefix_rows(encoder: Encoder, triples: list[Triple]) -> list[TokenRow]:
    """Tokenize the sentences q, s+, s- of each triple in order, and pool only the prefix.

    Pooled are the tokens wholly inside the prefix with which all three sentences begin. A tokenizer
    may split the last word differently before different neighbors.

    Raises:
        InputError: if a prefix does not have such a token.
    """
    rows = encoder.tokenize([sentence for triple in triples for sentence in triple.sentences])
    found: list[TokenRow] = []
    for number, triple in enumerate(triples):
        three = rows[3 * number : 3 * number + 3]
        end = len(triple.prefix)
        shared = 0
        for tokens in zip(*(zip(row.ids, row.offsets) for row in three)):
            if len(set(tokens)) > 1 or tokens[0][1][1] > end:
                break
            shared += 1
        places = [
            place
            for place in range(shared)
            if three[0].offsets[place][0] < three[0].offsets[place][1]
        ]
        if not places:
            raise InputError(
                f"prefix test: {triple.prefix!r} has no token that its three sentences share; use a longer prefix"
            )
        pool = [place in places for place in range(max(len(row.ids) for row in three))]
        found += [row._replace(pool=pool[: len(row.ids)]) for row in three]
    return found


def rounding(encoder: Encoder) -> float:
    """Return the largest difference of two cosines that counts as a tie.

    The same prefix is rounded differently in passes of other shapes. For causal SmolLM2-135M over
    the library's triples the difference is 0 in float32 and at most 1e-4 in bfloat16, a tenth of
    the limit for half precision.
    """
    return 1e-5 if encoder.dtype in (torch.float32, torch.float64) else 1e-3
