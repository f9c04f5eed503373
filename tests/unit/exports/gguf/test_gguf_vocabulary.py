"""Tokenizers as GGUF keys, and pre-tokenizers that llama.cpp lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

import bothways as bw
from bothways.errors import InputError
from bothways.exports.gguf.gguf_file import write_gguf
from bothways.exports.gguf.gguf_vocabulary import BYTE, CONTROL, NORMAL, UNUSED, vocabulary
from tiny import tiny_llama


@pytest.fixture
def encoder(tmp_path: Path) -> bw.Encoder:
    return bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu")


def test_an_unknown_pre_tokenizer_is_refused(encoder: bw.Encoder, tmp_path: Path) -> None:
    from tokenizers import pre_tokenizers

    encoder.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(InputError, match="does not have this tokenizer's pre-tokenizer"):
        write_gguf(encoder, tmp_path / "x.gguf")


def test_tokens_have_their_kind_and_rows_without_a_token_a_placeholder(encoder: bw.Encoder) -> None:
    tokenizer = encoder.tokenizer
    found = vocabulary(tokenizer, len(tokenizer) + 2)
    assert (found.model, found.pre, found.scores) == ("gpt2", "gpt-2", [])
    assert found.tokens[:-2] == tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    assert found.tokens[-2:] == [f"[PAD{len(tokenizer)}]", f"[PAD{len(tokenizer) + 1}]"]
    special = set(tokenizer.all_special_ids)
    assert [kind == CONTROL for kind in found.types[:-2]] == [number in special for number in range(len(tokenizer))]
    assert found.types[-2:] == [UNUSED] * 2
    assert found.merges and all(merge.count(" ") == 1 for merge in found.merges)


def test_sentencepiece_has_scores_by_the_rank_of_the_merge() -> None:
    pieces = ["<unk>", "<0x0A>", "a", "b", "c", "ab", "abc"]
    raw = Tokenizer(
        models.BPE({piece: number for number, piece in enumerate(pieces)}, [("a", "b"), ("ab", "c")], byte_fallback=True)
    )
    found = vocabulary(PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>"), 7)
    assert (found.model, found.pre, found.merges) == ("llama", "default", [])
    assert found.types == [CONTROL, BYTE, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL]
    assert found.scores[5] > found.scores[6] > found.scores[2], "a merge that comes first scores highest"


def test_other_kinds_of_tokenizers_are_refused() -> None:
    raw = Tokenizer(models.WordLevel({"a": 0}))
    with pytest.raises(InputError, match=r"llama\.cpp cannot read tokenizers of type WordLevel; it needs BPE"):
        vocabulary(PreTrainedTokenizerFast(tokenizer_object=raw), 1)
