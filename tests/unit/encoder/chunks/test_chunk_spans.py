"""Spans of chunks: sentences, and numbers of tokens, that cover the text."""

from __future__ import annotations

import random
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import bothways as bw
from bothways.encoder.chunks import chunk_spans
from bothways.encoder.chunks.chunk_spans import members_of, sentence_spans, token_spans
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


def test_a_replaced_word_goes_where_its_last_letter_lies() -> None:
    """tokenizers gives a token that replaces a word the place of the word's last letter alone."""
    raw = Tokenizer(models.WordLevel({"[UNK]": 0, "color": 1, "0": 2}, unk_token="[UNK]"))
    raw.normalizer = normalizers.Sequence([normalizers.Replace("colour", "color"), normalizers.Replace(Regex("[0-9]+"), "0")])
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    text = "a colour of 1984 here"
    spans = [match.span() for match in re.finditer(r"\S+\s*", text)]
    assert members_of(spans, raw.encode(text).offsets) == [(place, place + 1) for place in range(5)]
