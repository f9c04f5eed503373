"""Small random models that can be exported: one for each family that llama.cpp was measured
with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

from bothways.backbone.family import zoo
from tiny import tiny_tokenizer

# llama.cpp has these in its code, so a model without them is refused
_FIXED: dict[str, dict[str, Any]] = {
    "gemma2": {"query_pre_attn_scalar": 16},
    "gemma3_text": {"query_pre_attn_scalar": 16, "layer_types": ["sliding_attention"] * 4},
    "exaone4": {"sliding_window": None, "layer_types": ["full_attention"] * 4},
    "gemma3n_text": {"intermediate_size": [96] * 4},
    "gemma4_text": {"head_dim": ...},  # its layers have widths of their own
}


def small_model(folder: Path, model_type: str, **fields: Any) -> Path:
    """Save a random model of a family, wide enough for q8_0, with a byte-level tokenizer.

    Args:
        folder: created when absent.
        model_type: for example "qwen3".
        **fields: config fields over the small ones.
    """
    tokenizer = tiny_tokenizer(folder)
    config = zoo.small_config(model_type)
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 1024, "hidden_size": 64, "intermediate_size": 96}
    sizes["vocab_size_per_layer_input"] = len(tokenizer)
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 1)
    for key, value in {**sizes, "head_dim": 16, **tokens, **_FIXED.get(model_type, {}), **fields}.items():
        settable = value is not ... and not isinstance(getattr(type(config), key, None), property)
        if settable and (hasattr(config, key) or key in config.attribute_map or key in fields):
            setattr(config, key, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModel.from_config(config, dtype=torch.float32, attn_implementation="eager")
        zoo.enliven(model)
    model.save_pretrained(folder)
    return folder
