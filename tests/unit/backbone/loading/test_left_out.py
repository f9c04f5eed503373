"""Checkpoints that hold more or less than their config says: refused by name, unless what is left
out takes no part in a vector.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BertConfig

import bothways as bw
from bothways.errors import SourceError
from tiny import tiny_llama, tiny_model

WEIGHTS = "model.safetensors"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "base")


def add(folder: Path, **tensors: torch.Tensor) -> None:
    save_file({**load_file(folder / WEIGHTS), **tensors}, folder / WEIGHTS, metadata={"format": "pt"})


def configure(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def opened(folder: Path) -> Any:
    return bw.convert(folder, dtype="float32", device="cpu")


LAYER = "model.layers.0.self_attn"
INSIDE = {
    "attention bias": (f"{LAYER}.q_proj.bias", "attention_bias"),
    "norm of queries": (f"{LAYER}.q_norm.weight", "config.json"),
    "attention sinks": (f"{LAYER}.sinks", "config.json"),
    "a layer more": ("model.layers.2.mlp.up_proj.weight", "config.json"),
    "a bias of the last norm": ("model.norm.bias", "config.json"),
    "a norm of the embedding": ("model.embed_norm.weight", "config.json"),
    "factors of LoRA": (f"{LAYER}.q_proj.lora_A.default.weight", "merge the adapter"),
    "GPTQ": (f"{LAYER}.q_proj.qweight", "quantization_config"),
    "FP8": (f"{LAYER}.q_proj.weight_scale_inv", "quantization_config"),
    "bitsandbytes": (f"{LAYER}.q_proj.weight.absmax", "quantization_config"),
}


@pytest.mark.parametrize("what", INSIDE)
def test_weights_of_the_decoder_without_a_place_are_refused(base: Path, what: str) -> None:
    name, remedy = INSIDE[what]
    add(base, **{name: torch.ones(4)})
    with pytest.raises(SourceError, match=remedy) as caught:
        opened(base)
    assert "self_attn" in str(caught.value) or name.removeprefix("model.") in str(caught.value)


BESIDE = [
    "lm_head.bias",
    "score.weight",
    "v_head.summary.weight",
    "classifier.dense.weight",
    "value_head.weight",
    "mtp.layers.0.weight",
    "vision_tower.layers.0.weight",
    "model.vision_tower.encoder.weight",
    "multi_modal_projector.linear_1.weight",
    "pooler.dense.weight",
    f"{LAYER}.rotary_emb.inv_freq",
    f"{LAYER}.rotary_emb.cos_cached",
    f"{LAYER}.masked_bias",
    f"{LAYER}.bias",
    f"{LAYER}.k_scale",
    "model.position_ids",
]


def test_heads_towers_and_buffers_are_passed_over(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    right = opened(base).encode("a text")
    add(base, **{name: torch.ones(4) for name in BESIDE})
    with caplog.at_level(logging.WARNING, logger="bothways"):
        assert (opened(base).encode("a text") == right).all()
    assert not caplog.records
    add(base, **{"something.weight": torch.ones(4)})
    with caplog.at_level(logging.WARNING, logger="bothways"):
        assert (opened(base).encode("a text") == right).all()
    assert "1 weights of the checkpoint are not used: something.weight" in caplog.text


def test_a_classifier_and_an_encoder_only_model(base: Path, tmp_path: Path) -> None:
    right = opened(base).encode("a text")
    AutoModelForSequenceClassification.from_pretrained(base).save_pretrained(base)
    assert (opened(base).encode("a text") == right).all()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    from transformers import AutoModelForMaskedLM

    bert = tiny_model(tmp_path / "bert", BertConfig, auto=AutoModelForMaskedLM, **sizes)
    opened(bert)
    add(bert, **{"bert.encoder.layer.0.attention.self.query.lora_A.weight": torch.ones(4)})
    with pytest.raises(SourceError, match="merge the adapter"):
        opened(bert)


def test_a_config_that_takes_places_away(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "base", attention_bias=True)
    opened(folder)
    configure(folder, attention_bias=False)
    with pytest.raises(SourceError, match=r"8 weights that LlamaModel has no place for.*attention_bias"):
        opened(folder)
    configure(folder, attention_bias=True, num_hidden_layers=1)
    with pytest.raises(SourceError, match="has no place for"):
        opened(folder)
    configure(folder, num_hidden_layers=3)
    with pytest.raises(SourceError, match=r"lacks \d+ weights"):
        opened(folder)
    configure(folder, num_hidden_layers=2, intermediate_size=48)
    with pytest.raises(SourceError, match=str(folder)):
        opened(folder)


def test_tied_heads_and_shards(base: Path, tmp_path: Path) -> None:
    tied = tiny_llama(tmp_path / "tied", tie_word_embeddings=True)
    add(tied, **{"lm_head.weight": load_file(tied / WEIGHTS)["model.embed_tokens.weight"].clone()})
    opened(tied)
    right = opened(base).encode("a text")
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(base, max_shard_size="20KB")
    (base / WEIGHTS).unlink(missing_ok=True)
    shards = sorted(base.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert (opened(base).encode("a text") == right).all()
    index = base / "model.safetensors.index.json"
    for content in ("", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}'):
        kept = index.read_text()
        index.write_text(content)
        with pytest.raises(SourceError) as caught:
            opened(base)
        assert str(base) in str(caught.value) and "\n" not in str(caught.value)
        index.write_text(kept)
    for damage in (
        lambda: shards[1].write_bytes(shards[1].read_bytes()[:500]),
        lambda: shards[1].write_bytes(b""),
        shards[1].unlink,
    ):
        damage()
        with pytest.raises(SourceError) as caught:
            opened(base)
        assert str(base) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 7, 500, -1])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_checkpoint_that_was_cut_short(base: Path, kind: str, size: int) -> None:
    file = base / WEIGHTS
    if kind == "bin":
        torch.save(load_file(file), base / "pytorch_model.bin")
        file.unlink()
        file = base / "pytorch_model.bin"
        opened(base)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(SourceError) as caught:
        opened(base)
    line = str(caught.value)
    assert str(base) in line and "\n" not in line and len(line) < 700
