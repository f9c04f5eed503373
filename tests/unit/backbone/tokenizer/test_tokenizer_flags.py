"""BOS and EOS that tokenizer_config.json promises and tokenizer.json does not write: as
transformers 4 gave them.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModel, AutoTokenizer, MistralConfig

import bothways as bw
from bothways.errors import InputError
from tiny import SENTENCES, TINY

BOTH = {"add_bos_token": True, "add_eos_token": True}


def published(folder: Path, written: str = "<s> $A", **stated: Any) -> Path:
    """A folder as E5-Mistral's: the rule of tokenizer.json is `written`, tokenizer_config.json has
    the fields `stated`.
    """
    folder.mkdir()
    raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(prepend_scheme="first"), decoders.Metaspace()
    names = ["<unk>", "<s>", "</s>"]
    raw.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=400, special_tokens=names, show_progress=False))
    raw.post_processor = processors.TemplateProcessing(single=written, special_tokens=[("<s>", 1), ("</s>", 2)])
    raw.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>", "model_max_length": 4096}
    values = {
        key: value for key, value in {**named, "tokenizer_class": "LlamaTokenizer", **stated}.items() if value is not None
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    config = MistralConfig(vocab_size=raw.get_vocab_size(), bos_token_id=1, eos_token_id=2, **TINY)
    AutoModel.from_config(config).save_pretrained(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_lasttoken": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    return folder


def ends(encoder: Any, text: str = "A cat sits") -> tuple[bool, bool]:
    (row,) = encoder.tokenize([text])
    assert row.ids.count(1) <= 1 and row.ids.count(2) <= 1
    return row.ids[0] == 1, row.ids[-1] == 2


@pytest.mark.parametrize(
    ("written", "stated", "expected", "said"),
    [
        ("<s> $A", BOTH, (True, True), 1),
        ("$A", BOTH, (True, True), 2),
        ("$A", {"add_bos_token": True, "tokenizer_class": "GemmaTokenizerFast"}, (True, False), 1),
        ("$A", {**BOTH, "tokenizer_class": "Qwen2Tokenizer", "auto_map": {"AutoTokenizer": ["t.T", None]}}, (True, True), 2),
        ("<s> $A </s>", BOTH, (True, True), 0),
        # transformers 5 writes false beside rules that add both, so false says nothing
        ("<s> $A </s>", {"add_bos_token": False, "add_eos_token": False}, (True, True), 0),
        ("$A", {}, (False, False), 0),
    ],
)
def test_promises_are_kept(
    written: str, stated: dict[str, Any], expected: tuple[bool, bool], said: int, tmp_path: Path, caplog: Any
) -> None:
    folder = published(tmp_path / "folder", written, **stated)
    with caplog.at_level(logging.WARNING, logger="bothways"):
        encoder = bw.load(folder, dtype="float32", device="cpu")
    assert ends(encoder) == ends(encoder, " ".join(SENTENCES)) == expected
    assert sum("as transformers 4 did" in line for line in caplog.messages) == said
    encoder.save(tmp_path / "saved")
    # what is saved has the tokens in every loader, and is not warned of again
    caplog.clear()
    vectors = bw.load(tmp_path / "saved", dtype="float32", device="cpu").encode(list(SENTENCES))
    assert not [line for line in caplog.messages if "as transformers 4 did" in line]
    stock = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(list(SENTENCES))
    np.testing.assert_allclose(stock, vectors, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(list(SENTENCES)), vectors, atol=1e-6)


def test_ids_are_those_of_transformers_4(tmp_path: Path) -> None:
    """LlamaTokenizerFast 4.57 gives '<s> ▁A ▁cat </s>' for this folder: its own rule's ids, between
    the two.
    """
    folder = published(tmp_path / "folder", "$A", **BOTH)
    plain = AutoTokenizer.from_pretrained(folder)("A cat")["input_ids"]
    assert bw.load(folder, dtype="float32", device="cpu").tokenize(["A cat"])[0].ids == [1, *plain, 2]


def test_a_base_keeps_them_too(tmp_path: Path) -> None:
    folder = published(tmp_path / "folder", **BOTH)
    for file in (folder / "modules.json", folder / "sentence_bert_config.json"):
        file.unlink()
    assert ends(bw.convert(folder, dtype="float32", device="cpu")) == (True, True)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({**BOTH, "tokenizer_class": "PreTrainedTokenizerFast"}, r"tokenizer_config\.json: add_eos_token is true"),
        (
            {"add_eos_token": True, "eos_token": None},
            r"tokenizer_config\.json: add_eos_token is true and no eos_token is named",
        ),
    ],
)
def test_promises_without_a_clear_meaning_are_refused(stated: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        bw.load(published(tmp_path / "folder", **stated), dtype="float32", device="cpu")
