"""Runs token rows that a task has made through an encoder, in packed passes.

`Encoder.encode` and `encode_tokens` make their rows from texts. The prefix test moves a row's pool
mask, and the word probe puts a token before a row, so these tasks make the rows themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bothways.attention.stock import evaluation_mode
from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.encoder.inference import Budget, over_passes
from bothways.errors import InputError
from bothways.evaluation.task import RunOptions

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder


def token_encoder(encoder: AnyEncoder, kind: str) -> Encoder:
    """Return the encoder itself, if it gives token states.

    Raises:
        InputError: if it is not an encoder of this library.
    """
    if isinstance(encoder, Encoder):
        return encoder
    raise InputError(
        f"task {kind!r} needs the states of single tokens, which {type(encoder).__name__} does not give; open the same folder with "
        "bothways.load (or a base model with bothways.convert)"
    )


def row_states(
    encoder: Encoder, rows: Sequence[TokenRow], options: RunOptions
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number of the row, its states (tokens, H) float32) for every row, in order of length.

    The encoder runs without gradient and in evaluation mode.
    """
    budget = Budget(encoder, options.batch_tokens)

    def run(part: list[TokenRow]) -> list[np.ndarray]:
        batch = encoder.pack(part, fill_to=budget.fill(part)).to(encoder.device)
        states = encoder.states(batch).float().cpu()
        return [some.numpy() for some in states.split(batch.plan.lengths)[: batch.rows]]

    with evaluation_mode(encoder):
        for group, result in over_passes(rows, budget, None, run):
            yield from zip(group, result)


def pooled_rows(encoder: Encoder, rows: Sequence[TokenRow], options: RunOptions) -> np.ndarray:
    """Compute the vectors (N, D) float32 of the rows, not normalized.

    Each vector pools the tokens that the row's pool mask marks.
    """
    budget = Budget(encoder, options.batch_tokens)
    vectors = np.empty((len(rows), encoder.dimension), dtype=np.float32)

    def run(part: list[TokenRow]) -> np.ndarray:
        batch = encoder.pack(part, fill_to=budget.fill(part)).to(encoder.device)
        found: np.ndarray = encoder(batch).float().cpu().numpy()
        return found

    with evaluation_mode(encoder):
        for group, result in over_passes(rows, budget, None, run):
            vectors[group] = result
    return vectors
