"""Turns a name into a decoder, its tokenizer and, on request, its language-model head.

All kinds of source enter here: a hub id, a folder, a .gguf file, an embedded name. The result is
always the bare decoder (as AutoModel gives it), whichever class the checkpoint was saved from. What
a name means is in `model_source`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_MAPPING,
    AutoModel,
    AutoModelForCausalLM,
)

from bothways.backbone.hardware import resolve_device, resolve_dtype
from bothways.backbone.head import Head, take_apart
from bothways.backbone.loading.checkpoint_loading import (
    in_one_line,
    override_config,
    read_config,
    read_tokenizer,
    read_weights,
    silenced,
)
from bothways.backbone.loading.gguf_source import read_gguf
from bothways.backbone.loading.model_source import Source, resolve
from bothways.backbone.tokenizer.preparation import prepare_tokenizer
from bothways.backbone.tokenizer.tokenizer_file import warn_of_difference
from bothways.errors import InputError, UnsupportedFamily
from bothways.moved import old_names
from bothways.progress import Progress

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Implementations that run without a plan, so the head can be checked under them. They must be
# chosen while loading.
_STOCK_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")


@dataclass
class Pretrained:
    """A loaded model.

    Attributes:
        model: the bare decoder (or BERT-like encoder), in evaluation mode. It maps (B, L) ids to
            (B, L, H) states.
        tokenizer: a fast tokenizer with a pad token.
        head: maps last hidden states (M, H) to logits (M, V). None if it was not requested, and for
            encoder-only families. If the family ties its output to the input embeddings, its weight
            is the decoder's own tensor (`head.tied`).
        source: the source that it was loaded from.
    """

    model: Any
    tokenizer: Any
    head: Head | None
    source: Source


def load_pretrained(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype,
    device: str | torch.device = "cpu",
    head: bool = False,
    config_overrides: dict[str, Any] | None = None,
    attn_implementation: str | None = None,
) -> Pretrained:
    """Load a decoder or a BERT-like encoder, its tokenizer and, on request, its head.

    Args:
        name: hub id, folder, .gguf file or embedded name, or the source that it was resolved to.
        dtype: a torch dtype or its name. "auto" is bfloat16 if `device` computes in it, else
            float32. It is not the checkpoint's own dtype.
        device: a device or its name. "auto" is the fastest available.
        head: if True, also return the head. It is checked against the whole model on a few tokens.
        config_overrides: config fields to set before the weights are loaded, for example
            {"attention_dropout": 0.3}.
        attn_implementation: name of a transformers attention, for example "sdpa". If None,
            transformers chooses.

    Raises:
        SourceError: if the source cannot be found or reached, or is incomplete or unreadable.
        UnsupportedFamily: if the model is an encoder-decoder, if it is neither a text decoder nor a
            text encoder, or if its head does not work on hidden states alone.
        InputError: if a config field, dtype or device is unknown, if the tokenizer is unusable, or
            if the family cannot use the attention.
        MissingExtra: if a .gguf file is given without the `gguf` package.
    """
    source = resolve(name)
    where = torch.device(resolve_device(device))
    kind = resolve_dtype(dtype, where)
    overrides = config_overrides or {}
    stock = attn_implementation in _STOCK_ATTENTION
    options: dict[str, Any] = {"attn_implementation": attn_implementation} if stock else {}
    if source.kind == "gguf":
        with Progress(f"load {source.name}", None, ""):
            causal, tokenizer = read_gguf(
                source.path, dtype=kind, **_gguf_overrides(source, overrides), **options
            )
        model, lm_head = _split(causal, head)
    else:
        place = source.place
        config = read_config(source.name, place)
        # a config with wrong values raises errors of every kind, depending on the family
        with in_one_line(source.name), Progress(f"load {source.name}", None, ""):
            override_config(config, overrides, source.name)
            model, lm_head = _load_weights(source.name, place, config, head, dtype=kind, **options)
        tokenizer = read_tokenizer(source.name, place)
    with in_one_line(source.name, "its tokenizer cannot be used"):
        prepare_tokenizer(tokenizer, model.config)
        if source.kind != "gguf":
            warn_of_difference(tokenizer, place, source.name)
    if attn_implementation is not None and not stock:
        _set_attention(model, attn_implementation)
    model.to(where)
    return Pretrained(model, tokenizer, lm_head.to(where) if lm_head is not None else None, source)


def _load_weights(
    name: str, place: str, config: PretrainedConfig, head: bool, **options: object
) -> tuple[Any, Head | None]:
    role = _role(config, name)
    options["config"] = config
    if role == "encoder" or (role == "decoder" and not head):
        return read_weights(name, place, AutoModel, **options), None
    return _split(read_weights(name, place, AutoModelForCausalLM, **options), head)


def _role(config: PretrainedConfig, name: str) -> Literal["decoder", "encoder", "wrapper"]:
    """Tell if a config is a decoder's, a BERT-like encoder's, or that of a wrapper around text."""
    kind = type(config)
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedFamily(
            f"{name}: {config.model_type} is an encoder-decoder; give a decoder-only or encoder-only model"
        )
    if kind in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        return "encoder"
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UnsupportedFamily(
            f"{name}: {config.model_type} is neither a decoder-only nor an encoder-only text model; "
            "of a multimodal model, give its text decoder"
        )
    return "decoder" if config.get_text_config(decoder=True) is config else "wrapper"


def _split(causal: Any, head: bool) -> tuple[Any, Head | None]:
    """Return the bare decoder of a CausalLM and, on request, its head."""
    decoder = next(
        (part for part in (causal.base_model, causal.get_decoder()) if _stands_alone(part, causal)),
        None,
    )
    if decoder is None:
        raise UnsupportedFamily(
            f"{type(causal).__name__}: holds no text decoder that AutoModel knows; give the text model alone"
        )
    if not head:
        return decoder, None
    with silenced():
        return decoder, take_apart(causal, decoder)


def _stands_alone(part: PreTrainedModel, causal: PreTrainedModel) -> bool:
    """Tell if AutoModel builds exactly `part` from its own config.

    If so, and if that config is text-only, it can be saved and loaded by itself.
    """
    if part is None or part is causal:
        return False
    known = MODEL_MAPPING.get(type(part.config), ())
    return (
        type(part) in (known if isinstance(known, tuple) else (known,))
        and part.config.get_text_config(decoder=True) is part.config
    )


def saved_tokenizer(folder: Path, base: Pretrained) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a folder. If it has none, return that of the base."""
    if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer.model")):
        own: PreTrainedTokenizerBase = base.tokenizer
        return own
    return prepare_tokenizer(read_tokenizer(str(folder), str(folder)), base.model.config)


def source_config(name: str | os.PathLike[str]) -> PretrainedConfig:
    """Read the transformers config of a model, without its weights.

    Args:
        name: as in `load_pretrained`.

    Raises:
        SourceError: if the model cannot be found, reached or read.
    """
    source = resolve(name)
    if source.kind == "gguf":
        return _gguf_config(source)
    return read_config(source.name, source.place)


def _gguf_config(source: Source) -> PretrainedConfig:
    from transformers import AutoConfig

    path = Path(source.path).resolve()
    with in_one_line(source.name):
        config: PretrainedConfig = AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name)
    return config


def _gguf_overrides(source: Source, overrides: dict[str, Any]) -> dict[str, Any]:
    if not overrides:
        return {}
    config = _gguf_config(source)
    override_config(config, overrides, source.name)
    return {"config": config}


def _set_attention(model: PreTrainedModel, implementation: str) -> None:
    try:
        with silenced():
            model.set_attn_implementation(implementation)
    except (ValueError, ImportError) as error:
        raise InputError(
            f"attn_implementation {implementation!r}: {' '.join(str(error).split())[:300]}"
        ) from error
    if model.config._attn_implementation != implementation:
        raise InputError(
            f"attn_implementation {implementation!r}: {type(model).__name__} does not use transformers' attention interface"
        )


__getattr__ = old_names(__name__)
