"""An encoder on several processes gives the vectors of one, and a lost process is replaced."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.bulk.encoder_pool import EncoderPool
from bothways.bulk.model_request import ModelRequest
from bothways.data.labeled.example import Example
from bothways.errors import BothwaysError, InputError
from bothways.mining import mine
from bothways.search import vector_shards
from tiny import SENTENCES

TEXTS = [f"{sentence} {number}" for number in range(12) for sentence in SENTENCES]
ROWS = [Example(f"{text}?", (text,)) for text in TEXTS[:40]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As each process has, so that a product is added up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def request_of(model: Path) -> ModelRequest:
    return ModelRequest(str(model), "cpu", "float32")


def test_mined_rows_are_those_of_one_process(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also after a process is lost."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(vector_shards, "CHUNK", 10)
    options = {"method": "dense", "perc": None, "negatives": 5}
    encoder = bw.load(model, dtype="float32", device="cpu")
    one = mine(ROWS, TEXTS, encoder=encoder, work=tmp_path / "one", **options)
    with EncoderPool(request_of(model), 2) as pool:
        two = mine(ROWS, TEXTS, encoder=pool, work=tmp_path / "two", **options)
        assert two.examples == one.examples
        assert two.statistics.summary() == one.statistics.summary()
        files = [sorted((tmp_path / name).glob("*-*/*.npy")) for name in ("one", "two")]
        assert len(files[0]) == len(files[1]) == 10 + 4
        for left, right in zip(*files):
            np.testing.assert_array_equal(np.load(left), np.load(right))

        assert pool._executor is not None
        lost = list(pool._executor._processes)
        assert len(lost) == 2  # both have encoded
        os.kill(lost[0], signal.SIGKILL)
        np.testing.assert_array_equal(pool.encode_query(TEXTS[:4]), encoder.encode_query(TEXTS[:4]))
        assert "a process that encoded was lost; its texts are encoded by another one" in caplog.text
        asked = pool.encode(TEXTS[:4], prompt="Find: ", batch_tokens=64)
        np.testing.assert_allclose(asked, encoder.encode(TEXTS[:4], prompt="Find: ", batch_tokens=64), atol=1e-6)
        with pytest.raises(InputError, match="batch_tokens"):
            pool.encode(TEXTS[:4], batch_tokens=-1)
    assert pool._executor is None


def test_a_wrong_model_fails_before_the_first_text_and_leaves_no_process(tmp_path: Path) -> None:
    pool = EncoderPool(ModelRequest(str(tmp_path / "no-such-model")), 2)
    with pytest.raises((BothwaysError, OSError), match="no-such-model"), pool:
        pytest.fail("opened")
    assert pool._executor is None and multiprocessing.active_children() == []
    with pytest.raises(InputError, match="processes: must be at least 1"):
        EncoderPool(ModelRequest("a"), 0)


def test_texts_that_end_every_process_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = EncoderPool(ModelRequest("model"), 1)
    calls = []

    class Broken:
        def submit(self, *_: object) -> None:
            calls.append(1)
            raise BrokenProcessPool("lost")

        def shutdown(self, **_: object) -> None:
            pass

    monkeypatch.setattr(pool, "_started", Broken)
    with pytest.raises(BothwaysError, match="model: 3 processes ended while they encoded; if memory is short"):
        pool.encode(["a"])
    assert len(calls) == 3


def test_processes_compare_vectors_as_the_model_says(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "dot")
    file = folder / "config_sentence_transformers.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "similarity_fn_name": "dot"}))
    with EncoderPool(request_of(folder), 1) as pool:
        assert pool.similarity_fn_name == "dot"
        found = mine(ROWS[:5], TEXTS, encoder=pool, method="dense", perc=None, negatives=3)
    alone = mine(ROWS[:5], TEXTS, encoder=bw.load(folder, dtype="float32"), method="dense", perc=None, negatives=3)
    assert found.statistics.summary()["similarity"] == "dot"
    assert [row.negatives for row in found.examples] == [row.negatives for row in alone.examples]
