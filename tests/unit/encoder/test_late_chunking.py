"""Late chunking against naive loops over token states; windows; and a long book within memory."""

from __future__ import annotations

import logging
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import bothways as bw
from bothways.encoder import chunk_spans, late_chunking
from bothways.encoder.chunk_spans import members_of, sentence_spans, token_spans
from bothways.encoder.encoder import Encoder
from bothways.encoder.late_chunking import windows
from bothways.errors import InputError
from tiny import SENTENCES, tiny_llama

DOCUMENT = " ".join(SENTENCES)
SPANS = [(0, 60), (60, 200), (150, 260), (len(DOCUMENT) - 30, len(DOCUMENT))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True, "add_eos": True})


def encoder_of(folder: Path, **options: Any) -> Encoder:
    return bw.convert(folder, **{"dtype": "float32", "device": "cpu", "max_length": 512, **options})


# --- exact ---------------------------------------------------------------------------------------------------------------------


def naive(encoder: Encoder, text: str, spans: list[tuple[int, int]], prompt: str | None = None) -> np.ndarray:
    """Mean over the tokens whose last character lies in the span, token by token in float64; BOS and EOS go with the outermost."""
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


# --- chunks --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?  Four", ["One. ", "Two! ", "Three?  ", "Four"]),
        ('He said "no." Then he left.', ['He said "no." ', "Then he left."]),
        ("今日は天気。散歩しましょう。", ["今日は天気。", "散歩しましょう。"]),
        ("A line\n\n  another line\n", ["A line\n\n  ", "another line\n"]),
        ("  \n ", []),
        ("", []),
        ("... \n x", ["... \n ", "x"]),
        ("3.14 is pi.", ["3.14 is pi."]),
    ],
)
def test_sentences_cover_the_text(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences


def test_sentences_are_those_of_the_plain_expression(monkeypatch) -> None:
    """What was added to it for speed changes no sentence."""
    plain = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+[」』”’）]*\s*|\s*\n\s*")
    drawn = random.Random(0)
    texts = ["".join(drawn.choices("ab.!…\"')]。？」”  \n\t\u2003", k=drawn.randrange(40))) for _ in range(3000)]
    found = [sentence_spans(text) for text in texts]
    monkeypatch.setattr(chunk_spans, "_BREAK", plain)
    assert found == [sentence_spans(text) for text in texts]


@pytest.mark.parametrize("text", [".", " ", "\n", " .", ".)", "。", "\n a", '"', "a"])
def test_sentences_are_found_in_linear_time(text: str) -> None:
    long = text * (200_000 // len(text))
    start = time.process_time()
    spans = sentence_spans(long + "x")
    assert time.process_time() - start < 1
    assert (spans[0][0], spans[-1][1]) == (0, len(long) + 1)
    assert all(one[1] == other[0] for one, other in pairwise(spans))


def bert_like() -> PreTrainedTokenizerFast:
    """Drops invisible characters, as BERT's."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "a", "cat", "sits", "it", "rains"]
    raw = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = [(words[index], index) for index in (2, 3)]
    raw.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=specials)
    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, **roles)


@pytest.mark.parametrize("mark", ["\u200b", "\ufeff", "\u00ad", "\0"])
def test_sentences_that_no_token_stands_for_join_their_neighbour(folder: Path, mark: str) -> None:
    encoder = encoder_of(folder)
    encoder.tokenizer = bert_like()
    text = f"{mark}\n{mark}\nA cat sits.\n{mark}\nIt rains.\n{mark}"
    found = encoder.encode_chunks(text)
    first = f"{mark}\n{mark}\nA cat sits.\n{mark}\n"
    assert [text[start:end] for start, end in found.spans] == [first, f"It rains.\n{mark}"]
    np.testing.assert_allclose(found.vectors, encoder.encode_chunks("A cat sits.\nIt rains.").vectors, atol=1e-6)
    assert encoder.encode_chunks(text, 4).spans[-1][1] == len(text)
    # of a document of nothing else there is no passage
    one, other = encoder.encode_chunks([mark, "It rains."])
    assert (one.spans, one.vectors.shape, len(other.spans)) == ([], (0, 32), 1)
    # a passage that the caller gave stays an error
    with pytest.raises(InputError, match=r"chunks\[0\]\[1\]: no token represents the characters 0 to 2 of this text"):
        encoder.encode_chunks(text, [(4, 10), (0, 2)])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunks_of_tokens_cover_the_text_and_share_no_token(folder: Path, size: int) -> None:
    encoder = encoder_of(folder)
    offsets = [(a, b) for a, b in encoder.encode_tokens(DOCUMENT).offsets if b > a]
    spans = token_spans(offsets, size, len(DOCUMENT))
    assert "".join(DOCUMENT[start:end] for start, end in spans) == DOCUMENT
    members = members_of(spans, offsets)
    assert [place for first, end in members for place in range(first, end)] == list(range(len(offsets)))
    # bytes of one character stay together, so that only of ASCII all but the last have the size
    plain = DOCUMENT.encode("ascii", "ignore").decode()
    offsets_of_plain = [(a, b) for a, b in encoder.encode_tokens(plain).offsets if b > a]
    counts = [end - first for first, end in members_of(token_spans(offsets_of_plain, size, len(plain)), offsets_of_plain)]
    assert counts[:-1] == [size] * (len(counts) - 1)
    assert 1 <= counts[-1] <= size
    assert encoder.encode_chunks(DOCUMENT, size).spans == spans


def test_a_token_goes_where_its_last_character_lies() -> None:
    offsets = [(0, 3), (3, 9), (9, 12)]  # "The", " quick", " ox"
    assert members_of([(0, 4), (4, 12)], offsets) == [(0, 1), (1, 3)]
    # inside one token: that one
    assert members_of([(5, 6)], offsets) == [(1, 2)]
    # three tokens of one character stay together
    assert members_of([(0, 1), (1, 2)], [(0, 1), (0, 1), (0, 1), (1, 2)]) == [(0, 3), (3, 4)]


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


# --- windows -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "size", "overlap"), [(100, 30, 10), (31, 30, 0), (30, 30, 5), (7, 3, 2), (1000, 64, 16), (0, 8, 2)]
)
def test_windows_keep_every_token_once_farthest_from_the_cuts(tokens: int, size: int, overlap: int) -> None:
    found = windows(tokens, size, overlap)
    assert [place for window in found for place in range(window.first, window.last)] == list(range(tokens))
    assert all(window.end - window.start == min(size, tokens) for window in found)
    for one, other in pairwise(found):
        assert one.end - other.start >= overlap
        # how far a kept token is from where its window was cut is never less than in the other window
        for place in range(other.start, one.end):
            kept, left = (one, other) if place < one.last else (other, one)
            assert from_cut(place, kept, tokens) >= from_cut(place, left, tokens) - 1


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


# --- a stream ------------------------------------------------------------------------------------------------------------------


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


# --- a book --------------------------------------------------------------------------------------------------------------------

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
    """Scores of all pairs would take 600 MB as single bytes; what is needed is a few states per token."""
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
