"""Reads the numbers that llama.cpp needs from the transformers config of a model.

The names of the fields differ between families of transformers. GGUF has one key for each, see the
`gguf` package, `gguf.constants.Keys`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from bothways.errors import UnsupportedFamily

_EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps")


def settings(config: PretrainedConfig, name: str) -> dict[str, Any]:
    """Read the keys that all architectures share, without the architecture's name before them.

    Args:
        config: the text config of a transformers model.
        name: the user's name for the model, which begins an error line.

    Returns:
        For example {"block_count": 30, "attention.head_count": 9, …}.

    Raises:
        UnsupportedFamily: if GGUF does not have a key for the kind of rotary scaling.
    """
    heads = int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    values: dict[str, Any] = {
        "block_count": int(config.num_hidden_layers),
        "context_length": int(
            _first(config, "max_position_embeddings", "max_seq_len", "n_positions") or 2048
        ),
        "embedding_length": int(config.hidden_size),
        "feed_forward_length": int(
            _first(config, "intermediate_size", "n_inner", "ffn_hidden_size")
            or 4 * config.hidden_size
        ),
        "attention.head_count": heads,
        "attention.head_count_kv": _key_value_heads(config, heads),
        "attention.key_length": width,
        "attention.value_length": width,
        "vocab_size": int(config.vocab_size),
    }
    epsilon = _first(config, *_EPSILONS)
    if epsilon is not None:
        values["attention.layer_norm_rms_epsilon"] = values["attention.layer_norm_epsilon"] = float(
            epsilon
        )
    return {**values, **_rope(config, width, name)}


def _key_value_heads(config: PretrainedConfig, heads: int) -> int:
    if config.model_type == "falcon":
        return (
            int(config.num_kv_heads)
            if config.new_decoder_architecture
            else 1
            if config.multi_query
            else heads
        )
    return int(_first(config, "num_key_value_heads", "num_kv_heads") or heads)


def _rope(config: PretrainedConfig, width: int, name: str) -> dict[str, Any]:
    rope = getattr(config, "rope_parameters", None)
    if not rope:
        return {}
    values: dict[str, Any] = {}
    if "rope_type" not in rope and any(
        isinstance(each, dict) for each in rope.values()
    ):  # one entry for each kind of layer
        local = rope.get("sliding_attention")
        if local is not None and "rope_theta" in local:
            values["rope.freq_base_swa"] = float(local["rope_theta"])
        rope = rope.get("full_attention") or local
    share = float(
        rope.get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1.0
    )
    values |= {
        "rope.freq_base": float(rope.get("rope_theta", 10000.0)),
        "rope.dimension_count": int(width * share),
    }
    kind = rope.get("rope_type", "default")
    if kind in ("default", "llama3"):  # llama3 is a tensor, see `rope_factors`
        return values
    if kind not in ("linear", "yarn"):
        raise UnsupportedFamily(
            f"{name}: GGUF does not have rotary positions of type {kind}; it has default, linear, llama3, yarn"
        )
    values |= {"rope.scaling.type": kind, "rope.scaling.factor": float(rope["factor"])}
    original = rope.get("original_max_position_embeddings")
    if original is not None:
        values["rope.scaling.original_context_length"] = int(original)
    return values


def rope_factors(config: PretrainedConfig) -> Tensor | None:
    """Compute the divisors of the rotary frequencies that Llama 3.1 stretches one by one.

    Args:
        config: the text config of a transformers model.

    Returns:
        (rotated width / 2,) float32, or None if the frequencies are not of that type.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "llama3":
        return None
    stretched: Tensor
    stretched, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    exponents = torch.arange(0, 2 * len(stretched), 2, dtype=torch.float32) / (2 * len(stretched))
    base = float(rope["rope_theta"])
    return (1.0 / base**exponents) / stretched.float()


def _first(config: PretrainedConfig, *names: str) -> Any:
    return next(
        (value for name in names if (value := getattr(config, name, None)) is not None), None
    )
