"""Reads a model's attention from its config: text configs, windows, encoder-only families.

The switch (`direction`), the measurements (`stock`, `probe`) and the families table use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from bothways.errors import UnsupportedFamily

UNBOUNDED = 2**30
"""Tokens of a window that hides nothing.

Gemma 3 writes its window doubled. Twice this number still fits 32 bits, which llama.cpp reads.
"""

WINDOW_FIELDS = ("sliding_window", "sliding_window_size", "attention_chunk_size")

_NATURAL = frozenset({"bert-generation", "xlnet"})
"""Families bidirectional by nature that are not registered for masked language modeling.

XLNet permutes instead (arXiv 1906.08237).
"""


def text_configs(model: nn.Module) -> Iterator[PretrainedConfig]:
    """Yield the text config, then each other config object of the model for the same text.

    Raises:
        UnsupportedFamily: if it is not a transformers model.
    """
    owner: Any = next(
        (m for m in model.modules() if isinstance(getattr(m, "config", None), PretrainedConfig)),
        None,
    )
    if owner is None:
        raise UnsupportedFamily(
            f"{type(model).__name__}: not a transformers model (it has no config)"
        )
    first = owner.config.get_text_config()
    seen = {id(first)}
    yield first
    for holder in (owner, *model.modules()):
        config = getattr(holder, "config", None)
        mine = holder is owner or isinstance(config, type(first))
        if isinstance(config, PretrainedConfig) and mine and id(config) not in seen:
            seen.add(id(config))
            yield config


def state_width(model: nn.Module) -> int:
    """Return the width of a bare backbone's states.

    It is `hidden_size`, but OPT-350m projects its last states to `word_embed_proj_dim`.
    """
    out = getattr(getattr(model, "decoder", model), "project_out", None)
    if isinstance(out, nn.Linear):
        return int(out.out_features)
    config: Any = model.config
    return int(getattr(config, "get_text_config", lambda: config)().hidden_size)


def is_encoder_only(config: PretrainedConfig) -> bool:
    """Tell if the family is bidirectional by nature.

    It is if it was made for masked language modeling and is not used as a decoder.
    """
    natural = (
        config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES or config.model_type in _NATURAL
    )
    return (
        natural
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "is_encoder_decoder", False)
    )


def windowed_layers(config: PretrainedConfig) -> dict[int, int]:
    """Map layer index → window in tokens, for windows that could hide a token of some text."""
    size = next(
        (value for field in WINDOW_FIELDS if is_window(value := getattr(config, field, None))), None
    )
    if size is None or getattr(config, "use_sliding_window", True) is False:
        return {}
    kinds = getattr(config, "layer_types", None)
    if not kinds:
        return dict.fromkeys(range(config.num_hidden_layers), size)
    return {
        layer: size for layer, kind in enumerate(kinds) if "sliding" in kind or "chunked" in kind
    }


def is_window(value: object) -> bool:
    """Tell if a config value is a window that could hide a token."""
    return isinstance(value, int) and not isinstance(value, bool) and value < UNBOUNDED
