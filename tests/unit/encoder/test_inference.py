"""Windows, passes, memory back-off and quantisation, on a fake encoder whose vectors tell which
texts it was given.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bothways.encoder.inference as inference
from bothways.encoder.batch import TokenRow, pack
from bothways.encoder.inference import Budget, EncodeSettings, encode_windows, finish, over_passes, quantize, windows
from bothways.errors import BothwaysError, InputError


class Fake(nn.Module):
    """Vector of a text: (its token sum, its length). Fails on passes of more than `memory`
    tokens.
    """

    dimension = 2
    max_length = None
    device = torch.device("cpu")
    dtype = torch.float32
    graph = None

    def __init__(self, memory: int = 10**9, execution: str = "packed", error: Any = None) -> None:
        super().__init__()
        self.inner = nn.Dropout()
        self.memory, self.execution = memory, execution
        self.error = error or RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        self.passes: list[tuple[int, ...]] = []
        self.grad: list[bool] = []

    def tokenize(self, texts: list[str], prompt: str | None = None, *, first: int = 0) -> list[TokenRow]:
        rows = [TokenRow([len(prompt or ""), *map(ord, text)], [True] * (1 + len(text)), []) for text in texts]
        assert all(isinstance(text, str) for text in texts), first
        return rows

    def pack(self, rows: list[TokenRow], fill_to: int | None = None) -> Any:
        return pack(rows, fill_to=fill_to, pad_id=10**6)

    def forward(self, batch: Any) -> torch.Tensor:
        if batch.plan.total > self.memory:
            raise self.error
        assert not self.training
        assert not self.inner.training
        self.passes.append(batch.plan.lengths)
        self.grad.append(torch.is_grad_enabled())
        parts = batch.input_ids.split(batch.plan.lengths)[: batch.rows]
        return torch.tensor([[float(part.sum()), float(len(part))] for part in parts])


def encode(fake: Fake, texts: Any, **options: Any) -> np.ndarray:
    window = options.pop("window", inference.WINDOW)
    parts = list(encode_windows(fake, texts, EncodeSettings(**options), show=False, window=window))  # type: ignore[arg-type]
    return np.concatenate([vectors for _, vectors in parts])


TEXTS = ["x" * (1 + 7 * i % 23) for i in range(200)]
EXPECTED = np.array([[ord("x") * len(text), 1 + len(text)] for text in TEXTS], dtype=np.float32)


@pytest.mark.parametrize("batch_tokens", [1, 30, 256, 1024, 10**6])
@pytest.mark.parametrize("batch_size", [None, 1, 7])
@pytest.mark.parametrize("execution", ["packed", "padded"])
def test_order_is_kept_for_any_passes(batch_tokens: int, batch_size: int | None, execution: str) -> None:
    fake = Fake(execution=execution)
    assert (encode(fake, TEXTS, batch_tokens=batch_tokens, batch_size=batch_size) == EXPECTED).all()
    assert not any(fake.grad)
    assert all(batch_size is None or len(lengths) <= batch_size + 1 for lengths in fake.passes)
    if execution == "padded":  # no filler, which would widen the batch, and padding counts
        assert sum(map(sum, fake.passes)) == EXPECTED[:, 1].sum()
        assert all(len(lengths) * max(lengths) <= batch_tokens or len(lengths) == 1 for lengths in fake.passes)
    else:
        assert all(sum(lengths) <= batch_tokens or len(lengths) == 1 for lengths in fake.passes)


def test_passes_have_few_shapes() -> None:
    fake = Fake()
    encode(fake, TEXTS * 10)
    totals = {sum(lengths) for lengths in fake.passes}
    assert len(fake.passes) > 20
    assert all(total % inference.SHAPE_STEP == 0 for total in totals if total >= inference.SMALL_PASS)
    assert len(totals) <= 2


def test_an_iterator_is_read_one_window_ahead_at_most() -> None:
    taken = []

    def endless() -> Iterator[str]:
        for number in count():
            taken.append(number)
            yield TEXTS[number % len(TEXTS)]

    parts = encode_windows(Fake(), endless(), EncodeSettings(), show=False, window=16)  # type: ignore[arg-type]
    for number, (texts, vectors) in enumerate(islice(parts, 5), start=1):
        assert len(taken) == 16 * number
        assert (vectors == EXPECTED[16 * (number - 1) : 16 * number]).all()
        assert texts == TEXTS[16 * (number - 1) : 16 * number]
    assert (encode(Fake(), iter(TEXTS), window=16) == EXPECTED).all()


def test_long_texts_close_a_window_early(monkeypatch) -> None:
    monkeypatch.setattr(inference, "CHARACTERS", 50)
    texts = ["x" * 30, "x" * 30, "y", ("ask", "x" * 60), "y", "y", "y", "y"]
    assert [(start, len(part)) for start, part in windows(texts, 3)] == [(0, 2), (2, 2), (4, 3), (7, 1)]
    assert (encode(Fake(), iter(TEXTS)) == EXPECTED).all()


def test_training_mode_and_gradients_come_back() -> None:
    fake = Fake().train()
    fake.inner.eval()
    for _ in encode_windows(fake, TEXTS, EncodeSettings(), show=False, window=50):  # type: ignore[arg-type]
        assert torch.is_grad_enabled()  # between windows the caller's own mode holds
        assert (fake.training, fake.inner.training) == (True, False)
    fake.memory = 0
    with pytest.raises(BothwaysError):
        encode(fake, TEXTS)
    assert (fake.training, fake.inner.training) == (True, False)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("MPS backend out of memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_passes(error: Exception, caplog) -> None:
    fake = Fake(memory=100, error=error)
    with caplog.at_level(logging.WARNING, "bothways"):
        assert (encode(fake, TEXTS) == EXPECTED).all()
    assert "out of memory: passes of 512 tokens from here on" in caplog.text
    # halved until it fits, and not tried again in vain: 1024, 512, 256, 128, 64
    assert len(caplog.records) == 4
    assert max(map(sum, fake.passes)) > 32


def test_one_text_that_does_not_fit_is_named_by_its_length() -> None:
    with pytest.raises(BothwaysError, match="a text of 24 tokens does not fit into memory; set a smaller max_length"):
        encode(Fake(memory=20), TEXTS)


def test_other_errors_are_not_taken_for_memory() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        encode(Fake(memory=0, error=RuntimeError("shape mismatch")), TEXTS)


def test_over_passes_frees_the_failed_pass_before_it_goes_on() -> None:
    """A traceback that is still being handled would hold the tensors of the pass that failed."""
    import sys

    rows = [TokenRow([1] * 4, [True] * 4, []) for _ in range(8)]
    handled = []

    def run(part: list[TokenRow]) -> int:
        handled.append(sys.exc_info()[0])
        if len(part) > 2:
            raise MemoryError
        return len(part)

    found = list(over_passes(rows, Budget(Fake(), 32), None, run))  # type: ignore[arg-type]
    assert sorted(i for group, _ in found for i in group) == list(range(8))
    assert handled == [None] * len(handled)


@pytest.mark.parametrize("texts", ["one string", b"bytes", 3, None, {"a": 1}])
def test_what_is_no_collection_of_texts_is_refused(texts: Any) -> None:
    with pytest.raises(InputError, match="texts: must be a string, a pair"):
        list(windows(texts, 4))


def test_numbers_out_of_range_are_refused() -> None:
    for options in ({"batch_size": 0}, {"batch_tokens": 0}, {"truncate_dim": 0}, {"truncate_dim": 3}):
        with pytest.raises(InputError, match=next(iter(options))):
            encode(Fake(), TEXTS, **options)
    for options in ({"batch_size": 1.5}, {"batch_tokens": "9"}, {"truncate_dim": 2.0}):
        with pytest.raises(InputError, match=f"{next(iter(options))}: must be a whole number"):
            encode(Fake(), TEXTS, **options)
        with pytest.raises(InputError, match=f"{next(iter(options))}: must be a whole number"):
            encode(Fake(), [], **options)
    with pytest.raises(InputError, match="window"):
        list(windows(["a"], 0))


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_quantisation_is_that_of_sentence_transformers(precision: Any) -> None:
    from sentence_transformers.util import quantize_embeddings

    vectors = np.random.default_rng(0).standard_normal((200, 32)).astype(np.float32)
    found = quantize(vectors, precision)
    assert (found == quantize_embeddings(vectors, precision=precision)).all()
    assert found.dtype == (np.uint8 if precision.startswith("u") else np.int8)
    empty = quantize(vectors[:0], precision)
    assert (empty.shape, empty.dtype) == ((0, found.shape[1]), found.dtype)
    assert quantize(vectors, "float32") is vectors


def test_unit_vectors_of_small_numbers() -> None:
    vectors = np.array([[3e-30, 4e-30], [3e18, 4e18], [0, 0]], dtype=np.float32)
    assert np.allclose(finish(vectors, True), [[0.6, 0.8], [0.6, 0.8], [0, 0]])
    assert finish(vectors, True).dtype == np.float32


def test_quantisation_that_would_mean_nothing_is_refused() -> None:
    vectors = np.ones((1, 12), dtype=np.float32)
    for equal in (vectors, vectors.repeat(3, axis=0)):
        with pytest.raises(InputError, match="so it needs several different texts"):
            quantize(equal, "int8")
    with pytest.raises(InputError, match="packs 8 numbers into a byte, so the dimension must be a multiple of 8"):
        quantize(vectors, "binary")
    with pytest.raises(InputError, match="precision: must be one of float32, int8"):
        quantize(vectors, "float8")  # type: ignore[arg-type]
