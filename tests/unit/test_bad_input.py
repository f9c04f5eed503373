"""Input that nobody wants, through the public doors: strange texts, a full disk. Each layer's tests
hold the finer cases:

empty, whitespace, long words, no spaces, emoji, surrogates, NUL, non-strings unit/encoder/texts/test_tokenization.py
NaN labels, truncated lines, missing columns, damaged files         unit/data/, unit/evaluation/
unknown config keys                                                 unit/test_config.py, unit/training/recipe/test_recipe_files.py
a model folder without tokenizer                                    unit/backbone/loading/test_sources.py, unit/encoder/test_convert.py
a full disk, a killed run                                           unit/test_atomic.py, unit/training/loop/test_trainer.py
the same on the command line                                        unit/cli/test_errors.py
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.errors import BothwaysError, InputError, OutputError
from tiny import SENTENCES, tiny_llama
from unit.training.material import mntp, recipe, simcse

STRANGE = {
    "empty": "",
    "blank": " ",
    "white space": "\n\t  \u3000\u00a0",
    "long word": "x" * 100_000,
    "chinese": "今天天气很好我们去公园散步吧" * 20,
    "japanese": "今日は天気がいいから散歩しましょう" * 20,
    "korean": "오늘은날씨가좋으니산책하러갑시다" * 20,
    "thai": "วันนี้อากาศดีเราไปเดินเล่นกันเถอะ" * 20,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏽",
    "lone surrogate": "a\ud800b\udfff",
    "nul": "a\0b\0",
    "control": "\x01\x7f\u200b\ufeff\u202e",
    "combining": "e" + "\u0301" * 500,
    "special tokens": "<s></s><pad>",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base", tokenizer={"add_bos": True})


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """Every file ends at `size` bytes; the system refuses the rest, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("pooling", ["mean", "last", "max"])
def test_every_string_has_a_vector(base: Path, pooling: str) -> None:
    encoder = bw.convert(base, pooling=pooling, dtype="float32", device="cpu")
    texts = list(STRANGE.values())
    started = time.process_time()
    vectors = encoder.encode(texts)
    assert time.process_time() - started < 20
    assert np.isfinite(vectors).all()
    assert np.abs(np.stack([encoder.encode(text) for text in texts]) - vectors).max() < 1e-5
    instructed = encoder.encode([("Find: ", text) for text in texts])
    assert np.isfinite(instructed).all()
    for text, item in zip(texts, encoder.encode_tokens(texts)):
        assert all(0 <= a <= b <= len(text) for a, b in item.offsets)


@pytest.mark.parametrize("texts", [["a", 3], ["a", None], ["a", float("nan")], ["a", b"b"], ["a", ["b"]], ["a", {"b": 1}]])
def test_what_is_no_string_is_named_everywhere(base: Path, tmp_path: Path, texts: list[Any]) -> None:
    encoder = bw.convert(base, dtype="float32", device="cpu")
    for call in (encoder.encode, encoder.encode_tokens, encoder.encode_query, lambda t: list(encoder.encode_stream(t))):
        with pytest.raises(InputError, match=r"texts\[1\]: must be a string"):
            call(texts)
    with pytest.raises(InputError, match=r"texts\[1\]: must be a string"):
        bw.train(recipe(tmp_path, mntp()), tmp_path / "out", texts=texts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", [mntp, simcse])
def test_strange_texts_train(tmp_path: Path, stage: Any) -> None:
    """Each of them among ordinary ones: no error, and finite weights."""
    made = recipe(tmp_path, stage(optim={"lr": 1e-3, "steps": 3}))
    texts = [text for pair in zip(SENTENCES * 2, STRANGE.values()) for text in pair]
    encoder = bw.train(made, tmp_path / "out", texts=texts)
    assert np.isfinite(encoder.encode(list(STRANGE.values()))).all()


def test_a_disk_that_fills_up_while_training(tmp_path: Path) -> None:
    made = recipe(tmp_path, mntp(optim={"lr": 1e-3, "steps": 4}, save_every=2))
    with no_room(9000), pytest.raises((BothwaysError, OSError)) as caught:
        bw.train(made, tmp_path / "out", texts=list(SENTENCES) * 8)
    assert isinstance(caught.value, OutputError)
    assert "cannot be written" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith((".part", ".old"))]
    encoder = bw.train(made, tmp_path / "out", resume=True, texts=list(SENTENCES) * 8)  # room again
    assert encoder.provenance["stages"][0]["steps"] == 4


def test_results_on_a_full_disk(base: Path, tmp_path: Path) -> None:
    from bothways.evaluation.results import Record, Results

    results = Results({"a": Record("sts", "m", {"m": 1.0}, {"text": "x" * 5000}, "", 0.0)})
    with no_room(1000), pytest.raises(OutputError, match=r"r.json: cannot be written \(File too large\)"):
        results.save(tmp_path / "r.json")
    assert os.listdir(tmp_path) == []
