"""Texts with their vectors: what is sent to a server, and what a pooled prompt costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.exports.reference import SAMPLE, TEXTS, ReferenceRow, cosine, own_rows, prompt_section, rows, sent
from tiny import tiny_llama


def encoder(folder: Path, **options) -> bw.Encoder:
    return bw.convert(tiny_llama(folder / "base"), dtype="float32", device="cpu", **options)


def test_rows_are_the_encoders_vectors_with_the_prompt_pooled(tmp_path: Path) -> None:
    model = encoder(tmp_path, prompts={"query": "Find: ", "whole": "Text: {text}{eos}"})
    found = {row.case: row for row in rows(model)}
    assert found.keys() == {*TEXTS, "prompt query", "prompt whole"}
    assert found["prompt query"].text == f"Find: {SAMPLE}"
    assert found["prompt whole"].text == f"Text: {SAMPLE}</s>" == sent(model, "Text: {text}{eos}", SAMPLE)
    for row in found.values():
        assert np.allclose(row.vector, model.encode(row.text, prompt=""), atol=1e-6)
    own = model.encode(SAMPLE, prompt_name="query")
    assert found["prompt query"].cost == pytest.approx(cosine(found["prompt query"].vector, own), abs=1e-9)
    assert found["prompt query"].cost < 0.9999, "the encoder leaves the prompt out of its pooling"
    assert found["short"].cost == 1.0
    mine = {row.case: row for row in own_rows(model)}
    assert np.allclose(mine["prompt query"].vector, own, atol=1e-6)
    assert (mine["prompt query"].text, mine["prompt query"].prompt) == (SAMPLE, "query")


def test_texts_beyond_the_limit_are_left_out(tmp_path: Path) -> None:
    model = encoder(tmp_path, max_length=20)
    kept = {row.case for row in rows(model)}
    assert kept == {case for case, text in TEXTS.items() if len(model.tokenizer(text)["input_ids"]) <= 20}
    assert {"word"} <= kept < set(TEXTS)


def test_cosines_are_float64_and_zero_has_none() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 50))
    assert cosine(a, b) == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-12)
    assert cosine([0, 0], [1, 2]) == 0.0


def test_the_table_of_prompts_keeps_its_cells() -> None:
    given = [ReferenceRow("short", "a", [1.0]), ReferenceRow("prompt q", "Find:\na|b", [1.0], 0.98765)]
    lines = prompt_section(given, column="text to send", explanation="Why.")
    assert lines[-3:] == ["| prompt | text to send | cosine |", "|---|---|---|", "| q | `Find:\\na\\|b` | 0.9877 |"]
    assert prompt_section(given[:1], column="text", explanation="Why.") == []
