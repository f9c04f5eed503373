"""The proof of a graph: it sees each fault that a runtime can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.errors import InputError
from bothways.exports.graphs.padded_encoder import PaddedEncoder, plain_attention
from bothways.exports.graphs.short.graph_proof import padded_run, prove
from tiny import tiny_llama


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> bw.Encoder:
    base = tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})
    return bw.convert(base, dtype="float32", device="cpu", prompts={"query": "Find a text about this:\n"})


def right(encoder: bw.Encoder, *arrays: np.ndarray) -> np.ndarray:
    with plain_attention(encoder), torch.no_grad():
        return PaddedEncoder(encoder)(*map(torch.from_numpy, arrays))[-1].numpy()


def without_padding(encoder: bw.Encoder, ids: np.ndarray, mask: np.ndarray, pool: np.ndarray) -> np.ndarray:
    return right(encoder, ids, np.ones_like(mask), pool)


def pooling_all(encoder: bw.Encoder, ids: np.ndarray, mask: np.ndarray, pool: np.ndarray) -> np.ndarray:
    return right(encoder, ids, mask, mask)


def only_early(encoder: bw.Encoder, ids: np.ndarray, mask: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """A window that hides what is far away."""
    return right(encoder, *(each[:, :24] for each in (ids, mask, pool)))


def longer(encoder: bw.Encoder, *arrays: np.ndarray) -> np.ndarray:
    return 1.1 * right(encoder, *arrays)


def test_a_right_one(encoder: bw.Encoder) -> None:
    found = prove(encoder, lambda *arrays: right(encoder, *arrays), 64)
    assert found.least > 0.999999 and found.comparisons >= 12


@pytest.mark.parametrize("wrong", [without_padding, pooling_all, only_early, longer])
def test_a_wrong_one(encoder: bw.Encoder, wrong: Any) -> None:
    with pytest.raises(InputError, match="graph: the vector of the text"):
        prove(encoder, lambda *arrays: wrong(encoder, *arrays), 64)


def test_one_token_is_padded_to_two(encoder: bw.Encoder) -> None:
    row = encoder.tokenize(["x"], prompt="")[0]
    row = row._replace(ids=row.ids[-1:], pool=[True], offsets=row.offsets[-1:])
    shapes: list[Any] = []
    padded_run(lambda *arrays: shapes.append([each.tolist() for each in arrays]), [row])  # type: ignore[arg-type, return-value]
    assert shapes == [[[[row.ids[0], 0]], [[1, 0]], [[1, 0]]]]


def test_nothing_is_left_behind(encoder: bw.Encoder, tmp_path: Path) -> None:
    before = encoder.encode("a cat")
    prove(encoder, lambda *arrays: right(encoder, *arrays), 64)
    assert np.array_equal(encoder.encode("a cat"), before)
