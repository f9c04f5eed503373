"""Rewrites families that are Llama with other names or factors as Llama itself.

Servers run the class of Llama in both directions.

| family | difference from Llama, and how it is removed |
|---|---|
| granite | four multipliers: into the embedding, the queries and the two outputs of each block |
| seed_oss, qwen2 | biases of query, key and value: the output gets a bias of zeros |
| helium, ernie4_5 | rotary pairs are neighbors: the rows of query and key are reordered |
| phi3 | fused matrices: they are split |
| mistral | only the name |

The vectors are the same except for rounding. `tests/unit/exports/servers/test_server_folder.py`
compares them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel, PretrainedConfig

from bothways.attention.direction import set_direction
from bothways.encoder.encoder import Encoder

_SHARED = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "rope_parameters",
]


def _granite(state: dict[str, Tensor], config: PretrainedConfig, width: int) -> None:
    state["embed_tokens.weight"] = state["embed_tokens.weight"] * config.embedding_multiplier
    for name in list(state):
        if ".q_proj." in name:
            state[name] = state[name] * (config.attention_multiplier * width**0.5)
        elif ".o_proj." in name or ".down_proj." in name:
            state[name] = state[name] * config.residual_multiplier


def _neighbors(state: dict[str, Tensor], config: PretrainedConfig, width: int) -> None:
    order = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2)])
    for name in list(state):
        if ".q_proj." in name or ".k_proj." in name:
            value = state[name]
            state[name] = value.view(-1, width, *value.shape[1:])[:, order].reshape(value.shape)


def _fused(state: dict[str, Tensor], config: PretrainedConfig, width: int) -> None:
    sizes = [
        config.num_attention_heads * width,
        config.num_key_value_heads * width,
        config.num_key_value_heads * width,
    ]
    for name in list(state):
        before = name.rpartition(".self_attn.")[0] or name.rpartition(".mlp.")[0]
        if name.endswith("qkv_proj.weight"):
            for part, value in zip("qkv", state.pop(name).split(sizes), strict=True):
                state[f"{before}.self_attn.{part}_proj.weight"] = value
        elif name.endswith("gate_up_proj.weight"):
            for part, value in zip(("gate", "up"), state.pop(name).chunk(2), strict=True):
                state[f"{before}.mlp.{part}_proj.weight"] = value


def _same(state: dict[str, Tensor], config: PretrainedConfig, width: int) -> None:
    """Leave the weights as they are."""


FORMS: dict[str, Callable[[dict[str, Tensor], PretrainedConfig, int], None]] = {
    "granite": _granite,
    "seed_oss": _same,
    "qwen2": _same,
    "helium": _neighbors,
    "ernie4_5": _neighbors,
    "phi3": _fused,
    "mistral": _same,
}
"""Function of each family that changes its weights in place. It gets the state, config and head
width."""


def as_llama(encoder: Encoder) -> Encoder:
    """Return a copy of an encoder with a Llama as backbone and the same vectors, for saving.

    Args:
        encoder: an encoder of a family in `FORMS`.
    """
    config: Any = encoder.backbone.config.get_text_config()  # type: ignore[operator,union-attr]
    width = int(
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    state = {name: value.detach().float() for name, value in encoder.backbone.state_dict().items()}
    FORMS[config.model_type](state, config, width)
    biased = any(".q_proj.bias" in name for name in state)
    inner = any(".gate_proj.bias" in name for name in state)
    fields: dict[str, Any] = {name: getattr(config, name, None) for name in _SHARED}
    model = LlamaModel(
        LlamaConfig(
            **fields,
            head_dim=width,
            attention_bias=biased,
            mlp_bias=inner,
            tie_word_embeddings=False,
        )
    )
    for name, value in model.named_parameters():
        if name.endswith(".o_proj.bias") and name not in state:
            state[name] = torch.zeros_like(value)
    model.load_state_dict(state, strict=True)
    set_direction(model, "bidirectional")
    return with_parts(encoder, backbone=model.eval())


def with_parts(encoder: Encoder, **parts: object) -> Encoder:
    """Return a copy of an encoder with some attributes replaced. It shares the others."""
    other = copy.copy(encoder)
    other._modules = dict(encoder._modules)
    for name, part in parts.items():
        setattr(other, name, part)
    return other
