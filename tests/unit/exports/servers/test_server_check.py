"""Each rule of a server finds its fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.exports.verify import verify_rules
from export_models import small_model

FIELDS: dict[str, dict[str, Any]] = {
    "granite": {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1, "logits_scaling": 2.0},
    "seed_oss": {"attention_bias": True},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bases")


def encoder_of(bases: Path, family: str, **options: Any) -> Encoder:
    folder = bases / family
    if not folder.exists():
        small_model(folder, family, **FIELDS.get(family, {}))
    return bw.convert(folder, dtype="float32", **options)


def values(file: Path) -> Any:
    return json.loads(file.read_text())


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**values(file), **changes}))


@pytest.mark.parametrize(("file", "changes", "said"), [
    ("config.json", {"is_causal": True}, "texts causally"),
    ("config.json", {"architectures": ["LlamaForCausalLM"]}, "architectures is"),
    ("config.json", {"sliding_window": 4}, "sliding_window is 4"),
    ("config.json", {"hidden_act": "gelu"}, "hidden_act is gelu"),
    ("config.json", {"is_matryoshka": True}, "matryoshka_dimensions is null"),
    ("1_Pooling/config.json", {"pooling_mode": "max"}, "pooling_mode is max"),
    ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "has pooling_mode_cls_token and pooling_mode_mean_tokens"),
    ("sentence_bert_config.json", {"max_seq_length": None}, "max_seq_length is null"),
    ("sentence_bert_config.json", {"max_seq_length": 2048}, "with 1024 positions"),
    ("tokenizer_config.json", {"tokenizer_class": "TokenizersBackend"}, "tokenizer_class is TokenizersBackend"),
    ("tokenizer_config.json", {"extra_special_tokens": ["<a>"]}, "is a list"),
])  # fmt: skip
def test_each_rule_finds_its_fault(bases: Path, tmp_path: Path, file: str, changes: dict, said: str) -> None:
    out = bw.export(encoder_of(bases, "llama"), tmp_path / "out", to="vllm")
    edit(out / file, **changes)
    assert [rule for rule in verify_rules(out) if not rule.ok and said in rule.fault]
