"""A tokenizer that transformers builds anew is compared with the file that it comes from."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaConfig, Qwen2Config

import bothways as bw
from bothways.backbone.tokenizer.tokenizer_file import difference
from tiny import TINY, tiny_llama, tiny_model

# pairs of digits stay together here; transformers' Qwen2Tokenizer writes each digit as a token of
# its own
DIGITS = "In 2024, 12345 of 67890"


def with_numbers(folder: Path) -> Path:
    """Train the model's tokenizer again, on numbers, so that its file merges digits."""
    from tokenizers import decoders, models, pre_tokenizers, trainers

    old = AutoTokenizer.from_pretrained(folder)
    new = Tokenizer(models.BPE())
    new.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    new.decoder = decoders.ByteLevel()
    specials = [token for token in (old.bos_token, old.eos_token, old.pad_token, old.unk_token) if token]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    new.train_from_iterator([DIGITS] * 20, trainer)
    new.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize(("kind", "found"), [(LlamaConfig, None), (Qwen2Config, DIGITS)])
def test_a_pipeline_that_replaces_the_files_own_is_found(
    tmp_path: Path, kind: type, found: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    base = with_numbers(tiny_model(tmp_path / "base", kind, **{**TINY, "vocab_size": 512}))
    tokenizer = AutoTokenizer.from_pretrained(base)
    raw = Tokenizer.from_file(str(base / "tokenizer.json")).encode(DIGITS).ids
    assert (tokenizer(DIGITS, add_special_tokens=False)["input_ids"] == raw) == (found is None), "the premise"
    assert difference(tokenizer, str(base)) == found
    with caplog.at_level(logging.WARNING, logger="bothways"):
        bw.convert(base, dtype="float32", device="cpu")
    said = [line for line in caplog.messages if "tokenizer.json" in line]
    assert len(said) == (0 if found is None else 1)


def test_a_model_without_the_file_is_left_alone(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    (base / "tokenizer.json").unlink()
    assert difference(tokenizer, str(base)) is None
