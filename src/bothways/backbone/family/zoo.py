"""Small random models of every decoder family in transformers.

The families table is measured, and a measurement needs models: two to four layers, a few thousand
weights, built in milliseconds from the family's own config class. Size fields are shrunk by their
names, which families share. `EXTRA` lists the fields that names do not tell. Weights are drawn at a
scale at which every token matters to every other. The usual initial scale (0.02) leaves attention
too weak to be seen in a perturbation.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 96
WINDOW = 4
LARGEST = 4_000_000
"""The maximum number of parameters of a small model. A family above it was not shrunk."""

# The first matching pattern wins. The widths are consistent with each other: hidden 32 = 4 heads of
# 8, 2 key-value heads.
_SIZES: tuple[tuple[str, int], ...] = (
    (r"vocab_size(_per_layer_input)?|unpadded_vocab_size|n_vocab|nextn_vocab_size", VOCABULARY),
    (
        r"(pad|bos|eos|sep|cls|mask|unk|decoder_start|forced_\w+)_token_id|(bos|eos|pad|mask|unk|lang)_(index|id)",
        1,
    ),
    (r"num_hidden_layers|n_layers?|num_layers|decoder_layers|encoder_layers|num_decoder_layers", 4),
    (r"hidden_size_per_layer_input", 8),
    (
        r"hidden_size|n_embd|n_embed|d_model|embed_dim|embedding_size|dim|dim_model|word_embed_proj_dim|emb_dim|d_embed",
        32,
    ),
    (
        r"num_(key_value|kv)_heads|n_kv_heads?|num_key_value_head|(global|swa|num_global)_?num_key_value_heads",
        2,
    ),
    (
        r"(decoder_|encoder_|num_|swa_num_)?(attention_|attn_)?n?_?heads?|n_head|num_heads|index_n_heads",
        4,
    ),
    (r"qk_head_dim", 12),
    (r"qk_rope_head_dim|rotary_dim|rope_head_dim", 4),
    (r"(\w+_)?head_dim|d_kv|kv_channels|dim_head|attention_head_size", 8),
    (r"(q|kv|o)_lora_rank", 16),
    (
        r"(\w+_)?intermediate_size\w*|ffn_dim|n_inner|d_ff|(decoder|encoder)_ffn_dim|ffn_hidden_size|dim_ff|intermediate_dim",
        48,
    ),
    (
        r"num_experts_per_tok|num_experts_per_token|top_?k(_experts)?|moe_top_?k|moe_k|num_selected_experts|\w*router_topk",
        2,
    ),
    (
        r"num_(local_|routed_)?experts|n_routed_experts|moe_num_experts|n_experts|num_local_experts",
        4,
    ),
    (
        r"n_group|topk_group|num_expert_group\w*|n_shared_experts|num_shared_experts|moe_num_shared_experts",
        1,
    ),
    (r"first_k_dense_replace|num_dense_layers|moe_layer_start_index|num_kv_shared_layers", 1),
    (
        r"sliding_window(_size)?|attention_chunk_size|window_size|attention_window_size|keep_window_size",
        WINDOW,
    ),
    (
        r"max_position_embeddings|n_positions|n_ctx|max_seq_len|seq_length|max_sequence_length|max_length",
        64,
    ),
)

EXTRA: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4}
            for kind in ("sliding_attention", "full_attention")
        },
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 48},
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "n_routed_experts": 4},
    "dots1": {"num_experts_per_tok": 2, "n_routed_experts": 4, "n_shared_experts": 1},
    "gemma3n_text": {
        "intermediate_size": 48,
        "activation_sparsity_pattern": [0.0] * 4,
        "num_kv_shared_layers": 0,
    },
    "gpt_neo": {
        "attention_types": [[["global", "local"], 2]],
        "attention_layers": ["global", "local"] * 2,
    },
    "laguna": {
        "num_attention_heads_per_layer": [4] * 4,
        "layer_types": ["full_attention", "sliding_attention"] * 2,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {"expert_ffn_hidden_size": 16, "zero_expert_num": 1, "ffn_hidden_size": 48},
    "mellum": {"layer_types": ["full_attention", "sliding_attention"] * 2},
    "roc_bert": {"pronunciation_vocab_size": 96, "shape_vocab_size": 96},
    "smollm3": {
        "use_sliding_window": True,
        "layer_types": ["full_attention", "sliding_attention"] * 2,
    },
    "xlnet": {"d_head": 8},
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
}
"""Fields by family that the patterns above do not cover."""


def families() -> list[str]:
    """List the model types of every family registered for causal language modeling, sorted."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def small_config(model_type: str) -> PretrainedConfig:
    """Build the family's config with every size field shrunk.

    Raises:
        Exception: any error of the family's own validation if the shrunk values do not fit. The
            caller records it.
    """
    kind = CONFIG_MAPPING[model_type]
    extra = EXTRA.get(model_type, {})
    fields = {**_shrunk(vars(kind())), **extra}
    return kind(**{name: value for name, value in fields.items() if value is not ...})


def build(model_type: str, *, seed: int = 0) -> PreTrainedModel:
    """Build a random model of the family's bare decoder in float32, evaluation mode.

    Raises:
        ValueError: if the model has over `LARGEST` parameters, because shrinking missed a size.
    """
    config = small_config(model_type)
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModel.from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"not shrunk: {size:,} parameters")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModel.from_config(
            config, dtype=torch.float32, attn_implementation="eager"
        )
        enliven(model)
    model.eval()
    return model


@torch.no_grad()
def enliven(model: nn.Module) -> None:
    """Draw all weights at a scale that keeps the signal: by fan-in, or near a vector's own values.

    Gates and scales initialized to zero would hide whole layers. A constant sink or bias would hide
    its own mistakes.
    """
    for name, weight in model.named_parameters():
        if not weight.is_floating_point():
            continue
        if weight.ndim >= 2:
            embedding = re.search(r"embed|wte|wpe|word_emb", name) is not None
            weight.normal_(std=1.0 if embedding else weight.shape[-1] ** -0.5)
        else:
            weight.add_(torch.randn_like(weight) * 0.1)


def _shrunk(fields: dict[str, Any]) -> dict[str, Any]:
    skipped = {"transformers_version", "architectures", "dtype", "ignore_keys_at_rope_validation"}
    small = {
        name: _shrink(name, value)
        for name, value in fields.items()
        if not name.startswith("_") and name not in skipped
    }
    small.update(
        {
            name: size
            for name, size in (("head_dim", 8), ("num_key_value_heads", 2))
            if small.get(name, ...) is None
        }
    )
    # off by default in many families, but the measurement needs it
    if small.get("sliding_window", ...) is None:
        small["sliding_window"] = WINDOW
    if "max_window_layers" in small and small.get("sliding_window"):
        # The family derives its layer types from these two fields, so the list derived from its
        # defaults must go.
        small.update(
            {
                "use_sliding_window": True,
                "max_window_layers": 2,
                "sliding_window": WINDOW,
                "layer_types": ...,
            }
        )
    # multi-head latent attention rotates a part of each head, and does not share key heads
    if "qk_rope_head_dim" in small:
        small.update({"head_dim": 4, "num_key_value_heads": 4})
    return small


def _shrink(name: str, value: object) -> object:
    if name == "layer_types" and isinstance(value, list):
        return _four(value)
    if name == "mlp_layer_types" and isinstance(value, list):
        return _four(value)
    if isinstance(value, PretrainedConfig):
        return type(value)(**_shrunk(vars(value)))
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    for pattern, size in _SIZES:
        if re.fullmatch(pattern, name):
            return size
    return value


def _four(kinds: list[str]) -> list[str]:
    """Choose four layers that keep every kind of layer, in the order of first appearance."""
    distinct = list(dict.fromkeys(kinds))
    return [distinct[i % len(distinct)] for i in range(4)]
