"""The numbers of a config as llama.cpp's keys, and the frequencies that Llama 3.1 stretches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import GPT2Config, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from bothways.errors import UnsupportedFamily
from bothways.exports.gguf.gguf_settings import rope_factors, settings

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
}
STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}


def test_numbers_of_a_llama() -> None:
    found = settings(LlamaConfig(**SIZES, head_dim=20, rope_parameters={"rope_type": "default", "rope_theta": 1e6}), "x")
    assert found == {
        "block_count": 3,
        "context_length": 8192,
        "embedding_length": 64,
        "feed_forward_length": 96,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 20,
        "attention.value_length": 20,
        "vocab_size": 100,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.layer_norm_epsilon": 1e-6,
        "rope.freq_base": 1e6,
        "rope.dimension_count": 20,
    }


def test_other_names_of_the_same_numbers() -> None:
    found = settings(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=77, vocab_size=50), "x")
    assert (found["context_length"], found["embedding_length"], found["feed_forward_length"]) == (77, 32, 128)
    assert (found["attention.head_count_kv"], found["attention.layer_norm_epsilon"]) == (4, 1e-5)
    assert not any(name.startswith("rope") for name in found)


def test_scaled_positions() -> None:
    linear = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    found = settings(LlamaConfig(**SIZES, rope_parameters=linear), "x")
    assert (found["rope.scaling.type"], found["rope.scaling.factor"]) == ("linear", 2.0)
    with pytest.raises(UnsupportedFamily, match="mine: GGUF does not have rotary positions of type dynamic"):
        settings(LlamaConfig(**SIZES, rope_parameters={**linear, "rope_type": "dynamic"}), "mine")


def test_factors_divide_plain_frequencies_into_those_of_transformers() -> None:
    config = LlamaConfig(**SIZES, rope_parameters=STRETCHED)
    factors = rope_factors(config)
    assert factors is not None
    plain = torch.tensor([500000.0 ** (-2 * place / 16) for place in range(8)])
    assert torch.allclose(plain / factors, LlamaRotaryEmbedding(config).inv_freq, rtol=1e-5)
    assert factors[0] == 1 and math.isclose(float(factors[-1]), 8, rel_tol=1e-5), "fast ones stay, slow ones are stretched"
    assert rope_factors(LlamaConfig(**SIZES)) is None
