"""Windows: every token once, and long documents against a naive loop over windows."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.encoder.batch import TokenRow
from bothways.encoder.chunks.chunk_pooling import Document
from bothways.encoder.chunks.windows import Window, windows, windows_of
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from tiny import SENTENCES, tiny_llama

DOCUMENT = " ".join(SENTENCES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True, "add_eos": True})


def encoder_of(folder: Path, **options: Any) -> Encoder:
    return bw.convert(folder, **{"dtype": "float32", "device": "cpu", "max_length": 512, **options})


@pytest.mark.parametrize(
    ("tokens", "size", "overlap"), [(100, 30, 10), (31, 30, 0), (30, 30, 5), (7, 3, 2), (1000, 64, 16), (0, 8, 2)]
)
def test_windows_keep_every_token_once_farthest_from_the_cuts(tokens: int, size: int, overlap: int) -> None:
    found = windows(tokens, size, overlap)
    assert [place for window in found for place in range(window.first, window.last)] == list(range(tokens))
    assert all(window.end - window.start == min(size, tokens) for window in found)
    for one, other in pairwise(found):
        assert one.end - other.start >= overlap
        # how far a kept token is from where its window was cut is never less than in the other
        # window
        for place in range(other.start, one.end):
            kept, left = (one, other) if place < one.last else (other, one)
            assert from_cut(place, kept, tokens) >= from_cut(place, left, tokens) - 1


def test_windows_of_a_document_overlap_by_a_quarter_of_their_room() -> None:
    def part(tokens: int) -> TokenRow:
        return TokenRow([1] * tokens, [True] * tokens, [(0, 1)] * tokens)

    document = Document("", part(2), part(100), part(1), [])
    assert windows_of(document, 0, 27, None) == windows(100, 24, 6)
    assert windows_of(document, 0, 27, 23) == windows(100, 24, 23)
    assert windows_of(document, 0, 102, None) == windows(100, 99, 24)
    assert windows_of(document, 0, 103, None) == windows_of(document, 0, None, None) == [Window(0, 100, 0, 100)]
    assert windows_of(document, 0, 4, None) == windows(100, 1, 0)
    for limit, overlap in ((3, None), (27, 24), (27, -1)):
        with pytest.raises(InputError, match=rf"texts\[7\]: windows of {limit} tokens have {limit - 3} left"):
            windows_of(document, 7, limit, overlap)


def from_cut(place: int, window: Any, tokens: int) -> int:
    before = place - window.start + 1 if window.start else tokens
    return min(before, window.end - place if window.end < tokens else tokens)


def test_long_documents_equal_a_naive_loop_over_windows(folder: Path) -> None:
    encoder = encoder_of(folder)
    length, overlap, prompt = 40, 9, "Find: "
    row = encoder.tokenize([DOCUMENT], prompt=prompt, max_length=10**6)[0]
    own = [place for place, (start, end) in enumerate(row.offsets) if end > start]
    before, after = own[0], len(row.ids) - own[-1] - 1
    body = len(own)
    states = np.zeros((body, 32))
    for window in windows(body, length - before - after, overlap):
        ids = row.ids[:before] + row.ids[before + window.start : before + window.end] + row.ids[own[-1] + 1 :]
        part = type(row)(ids, [True] * len(ids), [(0, 0)] * len(ids))
        found = encoder.states(encoder.pack([part])).detach().numpy()[before:]
        states[window.first : window.last] = found[window.first - window.start : window.last - window.start]
    chosen = [place for place in range(body) if 60 <= row.offsets[before + place][1] - 1 < 200]
    expected = states[chosen].mean(0)
    vectors = encoder.encode_chunks(DOCUMENT, [(60, 200)], prompt=prompt, length=length, overlap=overlap).vectors
    np.testing.assert_allclose(vectors[0], expected, atol=1e-5)
    # the encoder's own length is the default
    encoder.options.max_length = length
    again = encoder.encode_chunks(DOCUMENT, [(60, 200)], prompt=prompt, overlap=overlap).vectors
    np.testing.assert_allclose(again, vectors, atol=1e-6)
    with pytest.raises(InputError, match=r"texts\[0\]: windows of 8 tokens have"):
        encoder.encode_chunks(DOCUMENT, 5, prompt=prompt, length=8, overlap=100)


def test_windows_are_no_longer_than_the_model_has_positions(tmp_path: Path, caplog) -> None:
    encoder = encoder_of(tiny_llama(tmp_path, max_position_embeddings=40), max_length=None)
    with pytest.raises(InputError, match=r"length: must be at most the 40 tokens .* positions for \(got 5000\)"):
        encoder.encode_chunks(DOCUMENT, 16, length=5000)
    expected = encoder.encode_chunks(DOCUMENT, 16, length=40).vectors
    caplog.clear()  # where a test of the command line has set the level before, this was said already
    for limit in (5000, None):
        encoder.options.max_length = limit
        with caplog.at_level(logging.INFO, "bothways"):
            found = encoder.encode_chunks([DOCUMENT, "short"], 16)
        np.testing.assert_allclose(found[0].vectors, expected, atol=1e-6)
        # said once, where there are any
        assert caplog.messages == ["1 of 2 texts were longer than 40 tokens and were read in overlapping windows"]
        caplog.clear()
