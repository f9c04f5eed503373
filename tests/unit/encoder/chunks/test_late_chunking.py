"""Late chunking against naive loops over token states; windows; and a long book within memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.encoder.chunks import late_chunking
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from tiny import SENTENCES, tiny_llama

DOCUMENT = " ".join(SENTENCES)
SPANS = [(0, 60), (60, 200), (150, 260), (len(DOCUMENT) - 30, len(DOCUMENT))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True, "add_eos": True})


def encoder_of(folder: Path, **options: Any) -> Encoder:
    return bw.convert(folder, **{"dtype": "float32", "device": "cpu", "max_length": 512, **options})


# --- exact
# ---------------------------------------------------------------------------------------------------------------------


def naive(encoder: Encoder, text: str, spans: list[tuple[int, int]], prompt: str | None = None) -> np.ndarray:
    """Mean over the tokens whose last character lies in the span, token by token in float64; BOS
    and EOS go with the outermost.
    """
    found = encoder.encode_tokens(text, prompt=prompt)
    own = [place for place, (start, end) in enumerate(found.offsets) if end > start]
    vectors = []
    for start, end in spans:
        chosen = [place for place in own if start <= found.offsets[place][1] - 1 < end]
        if own[0] in chosen:
            chosen += [place for place in range(own[0]) if found.pool[place]]
        if own[-1] in chosen:
            chosen += [place for place in range(own[-1] + 1, len(found.ids)) if found.pool[place]]
        vectors.append(sum(found.states[place].astype(np.float64) for place in chosen) / len(chosen))
    return np.stack(vectors)


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("prompt", [None, "Find the passage: "])
def test_given_spans_equal_a_naive_loop(folder: Path, direction: str, prompt: str | None) -> None:
    encoder = encoder_of(folder, direction=direction)
    found = encoder.encode_chunks(DOCUMENT, SPANS, prompt=prompt)
    assert found.spans == SPANS
    np.testing.assert_allclose(found.vectors, naive(encoder, DOCUMENT, SPANS, prompt), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "weighted_mean", "last", "bos", "max", "latent_attention"])
def test_one_chunk_of_everything_is_encode(folder: Path, pooling: str) -> None:
    mode: Any = {"mode": pooling, "latents": 4, "heads": 2} if pooling == "latent_attention" else pooling
    encoder = encoder_of(folder, pooling=mode)
    for prompt in (None, "Find: "):
        found = encoder.encode_chunks([DOCUMENT], [[(0, len(DOCUMENT))]], prompt=prompt)[0]
        np.testing.assert_allclose(found.vectors[0], encoder.encode(DOCUMENT, prompt=prompt), atol=1e-5)


def test_chunks_know_their_document(folder: Path) -> None:
    """The same passage has another vector in another document, and another one alone."""
    encoder = encoder_of(folder)
    first, second = DOCUMENT, DOCUMENT.replace("cat", "dog")
    span = (100, 160)
    assert first[slice(*span)] == second[slice(*span)]
    one, other = encoder.encode_chunks([first, second], [[span], [span]])
    alone = encoder.encode(first[slice(*span)])
    assert np.abs(one.vectors - other.vectors).max() > 1e-3
    assert np.abs(one.vectors - alone).max() > 1e-3


def test_many_documents_equal_each_alone(folder: Path) -> None:
    encoder = encoder_of(folder)
    texts = [DOCUMENT, SENTENCES[3], "", "a", "Zwei Sätze. Noch einer!"]
    found = encoder.encode_chunks(texts, "sentences", batch_tokens=64)
    assert [len(each.vectors) for each in found] == [len(each.spans) for each in found]
    assert found[2].vectors.shape == (0, 32)
    for text, each in zip(texts, found):
        alone = encoder.encode_chunks(text, "sentences")
        assert alone.spans == each.spans
        np.testing.assert_allclose(alone.vectors, each.vectors, atol=1e-5)


def test_unit_length_on_request(folder: Path) -> None:
    found = encoder_of(folder).encode_chunks(DOCUMENT, 16, normalize_embeddings=True)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    stored = encoder_of(folder, normalize=True).encode_chunks(DOCUMENT, 16)
    np.testing.assert_allclose(stored.vectors, found.vectors, atol=1e-6)


# --- chunks
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ("words", "chunks: must be 'sentences', a number of tokens"),
        (0, "at least 1 token"),
        (2.5, r"chunks: must be .* \(got 2\.5\)"),
        (True, r"chunks: must be .* \(got True\)"),
        (None, r"chunks: must be .* \(got None\)"),
        ([[5]], r"chunks\[0\]: must be a list of pairs \(start, end\) of characters \(got \[5\]\)"),
        ([[("a", "b")]], r"chunks\[0\]: must be a list of pairs"),
        ([[(0, 5)], []], r"one list of \(start, end\) per text, so 1 lists \(got 2\)"),
        ([[(0, 5), (4, 10**6)]], r"chunks\[0\]\[1\]: must be characters"),
        ([[(5, 5)]], r"chunks\[0\]\[0\]: must be characters"),
    ],
)
def test_wrong_chunks(folder: Path, chunks: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoder_of(folder).encode_chunks([DOCUMENT], chunks)


def test_a_number_of_tokens_may_come_from_numpy(folder: Path) -> None:
    encoder = encoder_of(folder)
    assert encoder.encode_chunks([DOCUMENT], np.int64(7))[0].spans == encoder.encode_chunks([DOCUMENT], 7)[0].spans
    assert encoder.encode_chunks(DOCUMENT, np.int64(7)).spans == encoder.encode_chunks(DOCUMENT, 7).spans


def test_a_pooling_of_closing_tokens_has_no_passages(folder: Path) -> None:
    with pytest.raises(InputError, match="last_tokens reads tokens after the text"):
        encoder_of(folder, pooling="last_tokens").encode_chunks(DOCUMENT)


# --- windows
# -------------------------------------------------------------------------------------------------------------------


# --- a stream
# ------------------------------------------------------------------------------------------------------------------


def test_a_stream_of_documents_is_read_group_by_group(folder: Path, monkeypatch, caplog) -> None:
    encoder = encoder_of(folder)
    texts = [*SENTENCES, DOCUMENT, *SENTENCES]
    expected = encoder.encode_chunks(texts, 5)
    monkeypatch.setattr(late_chunking, "TOGETHER", 64)
    taken: list[str] = []

    def reading() -> Iterator[str]:
        for text in texts:
            taken.append(text)
            yield text

    seen: list[str] = []
    encoder.train()
    for group, found in encoder.encode_chunks_stream(reading(), 5):
        assert torch.is_grad_enabled()  # between groups the caller's own mode holds
        assert encoder.training
        assert [each.spans for each in found] == [each.spans for each in expected[len(seen) : len(seen) + len(group)]]
        for one, other in zip(found, expected[len(seen) :]):
            np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
        seen += group
        assert len(taken) <= len(seen) + 1
    assert seen == texts
    assert not caplog.messages
    for wrong in ("one text", 3):
        with pytest.raises(InputError, match="texts: must be a string, a pair"):
            list(encoder.encode_chunks_stream(wrong))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="chunks: a stream of texts takes 'sentences' or a number of tokens"):
        encoder.encode_chunks_stream(texts, [[(0, 5)]])  # type: ignore[arg-type]


# --- a book
# --------------------------------------------------------------------------------------------------------------------

BOOK = """
import resource, sys
import torch
torch.set_num_threads(1)
import bothways as bw
encoder = bw.convert({base!r}, dtype="float32", device="cpu", max_length=None)
encoder.encode("warm")
words = "the cat sits on the warm window sill and watches the rain . ".split()
text = " ".join(words[i % len(words)] for i in range({words}))
tokens = len(encoder.tokenize([text])[0].ids)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
vector = encoder.encode(text, show_progress_bar=False)
middle = peak()
chunks = encoder.encode_chunks(text, 512, length=4096, show_progress_bar=False)
print(tokens, middle - before, peak() - middle, len(chunks.vectors), bool((vector == vector).all()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource.getrusage")
def test_a_book_is_read_within_memory(tmp_path: Path) -> None:
    """Scores of all pairs would take 600 MB as single bytes; what is needed is a few states per
    token.
    """
    base = tiny_llama(
        tmp_path / "base",
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=1 << 18,
    )
    script = BOOK.format(base=str(base), words=12_000)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=500, check=True)
    tokens, encode, chunked, chunks, finite = done.stdout.split()
    assert int(tokens) >= 25_000
    assert float(encode) < 200, "MB above what the process held before"
    assert float(chunked) < 200
    assert int(chunks) == -(-int(tokens) // 512)
    assert finite == "True"


def test_a_question_behind_the_text_is_no_passage_s(folder: Path) -> None:
    encoder = encoder_of(folder, pooling="last")
    with pytest.raises(InputError, match=r"the prompt asks a question after the text, .* give prompt=''"):
        encoder.encode_chunks([DOCUMENT], prompt="{text} In a word:")
    assert encoder.encode_chunks([DOCUMENT], prompt="In a word: {text}")[0].spans == encoder.encode_chunks([DOCUMENT])[0].spans
