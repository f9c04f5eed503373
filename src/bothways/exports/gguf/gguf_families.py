"""The families that llama.cpp runs, as data: name of the architecture, settings and weights.

llama.cpp reads an architecture name, a set of numbers (`<arch>.block_count`, …) and tensors with
names of its own. The `gguf` package maps the names of tensors for all families. `FAMILIES` has the
other differences of each family: norms that store a distance from 1, fused matrices in another
order, rotary halves. Each entry was measured: `tests/parity/test_export_llama_cpp.py` runs a small
random model of the family in llama.cpp and compares the vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig

from bothways.errors import UnsupportedFamily

Named = Iterator[tuple[str, Tensor]]
Transform = Callable[[str, Tensor, PretrainedConfig], Named]


@dataclass(frozen=True)
class GgufFamily:
    """How one model type of transformers is written for llama.cpp.

    Attributes:
        arch: the architecture's name in GGUF, for example "llama".
        transform: functions that take a tensor's name and value and the config, and yield names
            and values as llama.cpp expects them. They are applied in order.
        settings: function that returns the family's own numbers by their GGUF key, without the
            architecture's name.
        activations: values of the config's activation that llama.cpp computes for this family.
        fixed: function for values that are fixed in llama.cpp's code. It returns the reason why a
            config cannot be exported, or None if it can.
        head: tensors of the language-model head that llama.cpp requires, although vectors do not
            depend on them.
    """

    arch: str
    transform: tuple[Transform, ...] = ()
    settings: Callable[[PretrainedConfig], dict[str, Any]] = field(default=lambda config: {})
    activations: tuple[str, ...] = ("silu",)
    fixed: Callable[[PretrainedConfig], str | None] = field(default=lambda config: None)
    head: tuple[str, ...] = ()


def interleaved(name: str, value: Tensor, config: PretrainedConfig) -> Named:
    """Reorder the rows of query and key so that rotary pairs are neighbors.

    transformers rotates row i of a head with row i + half, llama.cpp's `llama` rotates rows 2i and
    2i + 1.
    """
    for part, heads in (
        ("q_proj", config.num_attention_heads),
        ("k_proj", config.num_key_value_heads),
    ):
        if f".{part}." in f".{name}":
            width = value.shape[0] // heads
            value = (
                value.view(heads, 2, width // 2, *value.shape[1:])
                .transpose(1, 2)
                .reshape(value.shape)
            )
    yield name, value


def norm_from_one(name: str, value: Tensor, config: PretrainedConfig) -> Named:
    """Add 1 to the weights of norms that store their distance from 1 (Gemma, Nemotron)."""
    yield name, value + 1 if name.endswith("norm.weight") else value


def norm1p(name: str, value: Tensor, config: PretrainedConfig) -> Named:
    """Add 1 to the weights of all layer norms that store their distance from 1."""
    yield name, value + 1 if name.endswith(("layernorm.weight", "norm.weight")) else value


def transposed(name: str, value: Tensor, config: PretrainedConfig) -> Named:
    """Transpose GPT-2's matrices, which are stored as (inputs, outputs)."""
    turned = value.ndim == 2 and any(f".{part}." in name for part in ("c_attn", "c_proj", "c_fc"))
    yield name, value.T if turned else value


def grouped_by_kind(name: str, value: Tensor, config: PretrainedConfig) -> Named:
    """Reorder a fused matrix from head by head to all queries, all keys, all values."""
    if "query_key_value" in name:
        heads = config.num_attention_heads
        value = value.view(heads, 3, -1, *value.shape[1:]).transpose(0, 1).reshape(value.shape)
    yield name, value


def falcon_queries(name: str, value: Tensor, config: PretrainedConfig) -> Named:
    """Reorder Falcon's fused matrix from group by group to all queries, all keys, all values."""
    if "query_key_value" in name:
        heads = config.num_attention_heads
        groups = (
            config.num_kv_heads
            if config.new_decoder_architecture
            else 1
            if config.multi_query
            else heads
        )
        width, each = config.hidden_size // heads, heads // groups
        by_group = value.view(groups, each + 2, width, *value.shape[1:])
        parts = (by_group[:, :-2], by_group[:, -2], by_group[:, -1])
        value = torch.cat([part.reshape(-1, *value.shape[1:]) for part in parts])
    yield name, value


def _granite(config: PretrainedConfig) -> dict[str, Any]:
    return {
        "embedding_scale": float(config.embedding_multiplier),
        "residual_scale": float(config.residual_multiplier),
        "attention.scale": float(config.attention_multiplier),
        "logit_scale": float(config.logits_scaling),
    }


def _gemma2(config: PretrainedConfig) -> dict[str, Any]:
    return {
        "attn_logit_softcapping": float(config.attn_logit_softcapping or 0.0),
        "final_logit_softcapping": float(config.final_logit_softcapping or 0.0),
        **_window(config),
    }


def _window(config: PretrainedConfig) -> dict[str, Any]:
    """Return a window as wide as the positions, because windows have been lifted."""
    return {"attention.sliding_window": int(config.max_position_embeddings)}


def _parallel(config: PretrainedConfig) -> dict[str, Any]:
    return {"use_parallel_residual": bool(config.use_parallel_residual)}


def _cohere(config: PretrainedConfig) -> dict[str, Any]:
    return {"logit_scale": float(config.logit_scale)}


def _olmo(config: PretrainedConfig) -> dict[str, Any]:
    clip = getattr(config, "clip_qkv", None)
    return {
        "attention.layer_norm_epsilon": 1e-5,
        **({} if clip is None else {"attention.clamp_kqv": float(clip)}),
    }


def _gemma_fixed(config: PretrainedConfig) -> str | None:
    if config.query_pre_attn_scalar != config.head_dim:
        return f"query_pre_attn_scalar is {config.query_pre_attn_scalar}, but llama.cpp uses head_dim ({config.head_dim})"
    return None


def _gemma3_fixed(config: PretrainedConfig) -> str | None:
    pattern = [
        "full_attention" if layer % 6 == 5 else "sliding_attention"
        for layer in range(config.num_hidden_layers)
    ]
    if list(config.layer_types) != pattern:
        return "llama.cpp uses full attention in every sixth layer, and this model in others (layer_types)"
    return _gemma_fixed(config)


def _smollm3_fixed(config: PretrainedConfig) -> str | None:
    rotated = [int((layer + 1) % 4 != 0) for layer in range(config.num_hidden_layers)]
    if (
        list(config.no_rope_layers)[: len(rotated)] != rotated
    ):  # the list may be longer than the model
        return "llama.cpp does not rotate positions in every fourth layer, and this model in others (no_rope_layers)"
    return None


def _exaone4_fixed(config: PretrainedConfig) -> str | None:
    return "it has sliding layers" if "sliding_attention" in (config.layer_types or ()) else None


def _qk_norm_fixed(config: PretrainedConfig) -> str | None:
    on = next(
        (name for name in ("use_qk_norm", "qk_layernorm") if getattr(config, name, False)), None
    )
    return None if on is None else f"{on} has not been measured"


def _falcon_fixed(config: PretrainedConfig) -> str | None:
    if (
        config.alibi
        or not config.parallel_attn
        or not (config.multi_query or config.new_decoder_architecture)
    ):
        return "alibi, parallel_attn: false and multi_query: false have not been measured"
    return None


def _ernie_fixed(config: PretrainedConfig) -> str | None:
    return "llama.cpp does not read its biases (use_bias)" if config.use_bias else None


_GELU = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh")
"""Activations for which llama.cpp computes the tanh form. It differs from the exact one by less
than 1e-3."""

FAMILIES: dict[str, GgufFamily] = {
    "arcee": GgufFamily("arcee", (interleaved,), activations=("relu2",)),
    "cohere": GgufFamily("command-r", (), _cohere, fixed=_qk_norm_fixed),
    "ernie4_5": GgufFamily("ernie4_5", fixed=_ernie_fixed),
    "exaone4": GgufFamily("exaone4", (), _window, fixed=_exaone4_fixed),
    "falcon": GgufFamily("falcon", (falcon_queries,), activations=_GELU, fixed=_falcon_fixed),
    "gemma": GgufFamily("gemma", (norm_from_one,), activations=_GELU),
    "gemma2": GgufFamily("gemma2", (norm_from_one,), _gemma2, _GELU, _gemma_fixed),
    "gemma3_text": GgufFamily("gemma3", (norm_from_one,), _window, _GELU, _gemma3_fixed),
    "glm4": GgufFamily("glm4"),
    "gpt2": GgufFamily("gpt2", (transposed,), activations=_GELU),
    "gpt_neox": GgufFamily(
        "gptneox", (grouped_by_kind,), _parallel, _GELU, head=("output.weight",)
    ),
    "granite": GgufFamily("granite", (interleaved,), _granite),
    "hunyuan_v1_dense": GgufFamily("hunyuan-dense"),
    "llama": GgufFamily("llama", (interleaved,)),
    "mistral": GgufFamily("llama", (interleaved,)),
    "nemotron": GgufFamily("nemotron", (norm1p,), activations=("relu2",), head=("output.weight",)),
    "olmo": GgufFamily("olmo", (interleaved,), _olmo),
    "olmo2": GgufFamily("olmo2", head=("output.weight",)),
    "phi": GgufFamily(
        "phi2", activations=_GELU, fixed=_qk_norm_fixed, head=("output.weight", "output.bias")
    ),
    "phi3": GgufFamily("phi3", (), _window),
    "qwen2": GgufFamily("qwen2"),
    "qwen3": GgufFamily("qwen3"),
    "seed_oss": GgufFamily("seed_oss"),
    "smollm3": GgufFamily("smollm3", (interleaved,), fixed=_smollm3_fixed),
    "stablelm": GgufFamily(
        "stablelm", (), _parallel, fixed=_qk_norm_fixed, head=("output.weight",)
    ),
    "starcoder2": GgufFamily("starcoder2", activations=_GELU),
}
REFUSED = {
    "bloom": "its bias grows with the distance in llama.cpp and with the position in transformers, which differ without a "
    "causal mask",
}
"""Families that give other vectors in llama.cpp than in transformers, with the reason."""


def family(config: PretrainedConfig, name: str) -> GgufFamily:
    """Return how a model's family is written.

    Args:
        config: the text config of a transformers model.
        name: the user's name for the model, which begins an error line.

    Raises:
        UnsupportedFamily: if llama.cpp does not run this family, or it has not been measured.
    """
    kind = config.model_type
    if kind in REFUSED:
        raise UnsupportedFamily(f"{name}: {kind} gives other vectors in llama.cpp: {REFUSED[kind]}")
    found = FAMILIES.get(kind)
    if found is None:
        raise UnsupportedFamily(
            f"{name}: {kind} has not been measured in llama.cpp, so it is not exported to GGUF; "
            f"measured: {', '.join(sorted(FAMILIES))}"
        )
    activation = next(
        (value for key in _ACTIVATIONS if (value := getattr(config, key, None)) is not None), None
    )
    if activation not in (None, *found.activations):
        raise UnsupportedFamily(
            f"{name}: {kind} has the activation {activation}, and llama.cpp computes {', '.join(found.activations)} for it"
        )
    reason = found.fixed(config)
    if reason is not None:
        raise UnsupportedFamily(f"{name}: this {kind} gives other vectors in llama.cpp: {reason}")
    return found


_ACTIVATIONS = ("hidden_activation", "hidden_act", "activation_function", "activation")
