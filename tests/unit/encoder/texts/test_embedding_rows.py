"""Tokens that the tokenizer has and the model does not embed: refused by name where they arise, and
harmless where they do not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import processors
from transformers import AutoTokenizer

import bothways as bw
from bothways.errors import InputError
from bothways.objectives.masking import mask_token_id
from tiny import SENTENCES, tiny_llama


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model whose tokenizer has two tokens more than the model embeds."""
    folder = tiny_llama(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<title>", "<body>"])
    tokenizer.save_pretrained(folder)
    return folder


def opened(folder: Path, **options: object) -> bw.Encoder:
    return bw.convert(folder, dtype="float32", device="cpu", **options)  # type: ignore[arg-type]


SAID = r"the token '<title>' has number 384, but the model embeds 384"


def test_other_texts_are_encoded(base: Path) -> None:
    assert np.isfinite(opened(base).encode(list(SENTENCES))).all()


def test_a_text_that_holds_one(base: Path) -> None:
    encoder = opened(base)
    for call in (
        lambda: encoder.encode(["a text", "<title> A cat"]),
        lambda: encoder.encode_tokens(["a text", "<title> A cat"]),
        lambda: list(encoder.encode_stream(["a text", "<title> A cat"])),
    ):
        with pytest.raises(InputError, match=rf"texts\[1\]: {SAID}"):
            call()
    with pytest.raises(InputError, match=SAID):
        encoder.encode_chunks(["a text <title> A cat"], 4)


def test_prompts_wrappers_and_masks(base: Path) -> None:
    with pytest.raises(InputError, match=SAID):
        opened(base, prompts={"query": "<title> "}).encode_query("a text")
    with pytest.raises(InputError, match=SAID):
        opened(base, wrapper=("<title>", "")).encode("a text")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.mask_token = "<title>"
    with pytest.raises(InputError, match=f"mask_token: 'mask': {SAID}"):
        mask_token_id(tokenizer, "mask", 384)


def test_a_token_in_every_text_is_refused_at_load(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", "<body>"], special_tokens=[("<body>", 385)]
    )
    tokenizer.save_pretrained(base)
    with pytest.raises(InputError, match=r"puts '<body>' \(number 385\) into every text, but the model embeds only 384"):
        opened(base)


def test_a_pad_token_beyond_is_replaced(base: Path) -> None:
    file = base / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pad_token": "<title>"}))
    assert opened(base).tokenizer.pad_token == "</s>"
