"""Opening a causal language model: from a base, or from an encoder and the head of its base.

`causal_model.py` describes the model itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bothways.attention.probe import measure_execution
from bothways.attention.run import Execution
from bothways.attention.stock import caps_scores, evaluation_mode, set_implementation, stock
from bothways.attention.text_config import text_configs
from bothways.backbone.hardware import resolve_device
from bothways.backbone.loading.model_source import Source, resolve
from bothways.backbone.loading.sources import load_pretrained, source_config
from bothways.backbone.rope import RopeConfig, rope_overrides
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError, SourceError
from bothways.evaluation.language_model.causal_model import NEEDS_CAUSAL, CausalLM

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_language_model(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    rope: Mapping[str, Any] | RopeConfig | None = None,
) -> CausalLM:
    """Load a base LLM with its head, causal and with full attention.

    Args:
        name: hub id, folder, .gguf file or embedded name.
        dtype: as in `bothways.convert`. The published perplexities are measured in half precision.
        device: as in `bothways.convert`.
        rope: fields of transformers' `rope_parameters` that override the base's own, for example
            {"rope_type": "linear", "factor": 4.0} for position interpolation (arXiv 2306.15595)
            without training. A `RopeConfig` derives them from a context.

    Raises:
        SourceError: if the model cannot be found, reached or read.
        UnsupportedFamily: if it is not a text decoder, or if its head cannot be used alone.
        InputError: if it is an encoder-only model without such a head, if the dtype or device is
            wrong, or if `rope` is given for a family without RoPE.
    """
    source = resolve(name)
    overrides = (
        rope_overrides(source, rope) if isinstance(rope, RopeConfig) else _rope(source, rope)
    )
    place = resolve_device(device)
    loaded = load_pretrained(
        source, dtype=dtype, device=place, head=True, config_overrides=overrides
    )
    if loaded.head is None:
        raise InputError(
            f"{name}: {loaded.model.config.model_type} is an encoder-only model, and {NEEDS_CAUSAL}"
        )
    provenance = {"base": str(name), "source": loaded.source.kind}
    execution = _execution(loaded.model)
    return CausalLM(
        loaded.model, loaded.head, loaded.tokenizer, execution=execution, provenance=provenance
    ).eval()


def _execution(backbone: PreTrainedModel) -> Execution:
    """Measure how the backbone runs plans, and restore the attention that transformers chose.

    Passes without a plan use that attention, or eager attention if another would lose a cap.
    """
    config: Any = next(text_configs(backbone))
    before = "eager" if caps_scores(config) else config._attn_implementation
    try:
        return measure_execution(backbone)
    finally:
        set_implementation(backbone, before)


@contextmanager
def as_language_model(model: object) -> Iterator[CausalLM]:
    """Open a language model from anything that can be measured, and prove it causal.

    Inside the block an encoder runs in plain attention.

    Args:
        model: a `CausalLM`, or a causal `Encoder`. An encoder does not have a head, so the head of
            its base is loaded. If the family ties the head to the input embeddings, the encoder's
            own embeddings are used, trained or not.

    Raises:
        InputError: if it is something else, a bidirectional encoder, or an encoder with a base that
            is unknown or does not have a head.
        DirectionError: see `CausalLM.prove_causal`.
    """
    with ExitStack() as stack:
        if isinstance(model, CausalLM):
            language_model = model
        elif isinstance(model, Encoder):
            if model.direction != "causal":
                raise InputError(
                    f"{model.provenance.get('base', 'this encoder')} is bidirectional here, and {NEEDS_CAUSAL}"
                )
            head = _head_of(model)
            language_model = CausalLM(
                model.backbone,
                head,
                model.tokenizer,
                execution=model.execution,
                provenance=model.provenance,
            )
            stack.enter_context(_plain_attention(model.backbone))
        else:
            raise InputError(
                f"{type(model).__name__} is not a language model; pass load_language_model(BASE) or a causal encoder"
            )
        stack.enter_context(evaluation_mode(language_model))
        language_model.prove_causal()
        yield language_model


@contextmanager
def _plain_attention(backbone: nn.Module) -> Iterator[None]:
    """Use transformers' fused attention inside the block, or eager attention if it must be.

    Without a plan, an encoder's own attention draws an L × L mask and writes its scores out. Tokens
    after a prompt are generated without a plan.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(stock(backbone, "sdpa"))
        except (ValueError, ImportError):
            stack.enter_context(stock(backbone, "eager"))
        yield


def _head_of(encoder: Encoder) -> nn.Module:
    """Load the head of an encoder's base. A tied head reads the encoder's own embeddings."""
    base = encoder.provenance.get("base")
    if base is None:
        raise InputError(
            "this encoder does not name its base, so its vocabulary head cannot be loaded; pass a base LLM instead"
        )
    try:
        loaded = load_pretrained(str(base), dtype=encoder.dtype, device=encoder.device, head=True)
    except SourceError as error:
        raise SourceError(
            f"the encoder's vocabulary head comes from its base, {base}, which cannot be loaded: {error}"
        ) from error
    if loaded.head is None:
        raise InputError(
            f"{base}: {loaded.model.config.model_type} is an encoder-only model, and {NEEDS_CAUSAL}"
        )
    loaded.head.tie(encoder.backbone)
    return loaded.head.eval()


def _rope(name: Source, values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the config field with the base's own rotary settings, overridden by `values`."""
    if values is None:
        return None
    config = source_config(name)
    own = getattr(config.get_text_config(decoder=True), "rope_parameters", None)
    if not own:
        raise InputError(
            f"rope: {name} ({config.model_type}) does not have rotary positions to interpolate"
        )
    if "rope_type" not in own:
        raise InputError(
            f"rope: {name} has rotary settings per layer type ({', '.join(own)}); set them in its config.json"
        )
    return {"rope_parameters": {**own, **values}}
