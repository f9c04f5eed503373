"""EOS after every text: whatever the tokenizer puts around it stays, and the rule survives
saving.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors
from transformers import AutoTokenizer, LlamaTokenizer

import bothways as bw
from bothways.backbone.tokenizer.preparation import append_eos, specials
from bothways.errors import InputError
from tiny import SENTENCES, tiny_llama, tiny_tokenizer

TOKENIZERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "bos": {"add_bos": True},
    "eos already": {"add_eos": True},
    "both already": {"add_bos": True, "add_eos": True},
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_ids_are_those_of_before_and_eos(kind: str, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(**TOKENIZERS[kind])
    before = [tokenizer(text)["input_ids"] for text in SENTENCES]
    had = specials(tokenizer).eos_added
    append_eos(tokenizer)
    expected = [ids if had else [*ids, tokenizer.eos_token_id] for ids in before]
    assert [tokenizer(text)["input_ids"] for text in SENTENCES] == expected
    append_eos(tokenizer)
    assert [tokenizer(text)["input_ids"] for text in SENTENCES] == expected
    tokenizer.save_pretrained(tmp_path)
    assert [AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] for text in SENTENCES] == expected


def test_the_class_that_writes_its_own_rule_from_flags(tmp_path: Path) -> None:
    """Llama's tokenizer knows add_bos_token and add_eos_token beside the rule in its file; what is
    saved must not depend on them.
    """
    letters = {f"\u2581{letter}": number + 3 for number, letter in enumerate("abcdefgh")}
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **letters}
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=[], add_bos_token=True)
    before = tokenizer("a b c")["input_ids"]
    assert before[0] == 1
    append_eos(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert each("a b c")["input_ids"] == [*before, 2]


@pytest.mark.parametrize("trim", [False, True])
def test_offsets_stay_as_they_were(trim: bool) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    before = [encoding.offsets for encoding in tokenizer.backend_tokenizer.encode_batch(list(SENTENCES))]
    append_eos(tokenizer)
    after = [encoding.offsets for encoding in tokenizer.backend_tokenizer.encode_batch(list(SENTENCES))]
    assert [offsets[:-1] for offsets in after] == before


def test_truncation_keeps_eos_and_last_pools_it(tmp_path: Path) -> None:
    encoder = bw.convert(tiny_llama(tmp_path / "base"), add_eos=True, pooling="last", max_length=6, dtype="float32")
    (row,) = encoder.tokenize([SENTENCES[0]])
    assert (len(row.ids), row.ids[-1], row.pool[-1]) == (6, encoder.tokenizer.eos_token_id, True)
    encoder.save(tmp_path / "saved")
    again = bw.load(tmp_path / "saved", dtype="float32")
    assert (again.encode(list(SENTENCES)) == encoder.encode(list(SENTENCES))).all()


def test_no_eos_is_said() -> None:
    with pytest.raises(InputError, match=r"add_eos: tokenizer .* has no EOS token"):
        append_eos(tiny_tokenizer(eos=None))
