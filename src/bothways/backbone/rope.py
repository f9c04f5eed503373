"""Position interpolation: rotary positions stretched so that a model reads texts longer than it was trained on.

A setting of the model's config and nothing else: the arithmetic is transformers' own, and a saved model carries the setting to every
loader. It stands apart because deciding is not loading: the new settings follow from the old config alone.

- linear: every position divided by the factor (position interpolation, https://arxiv.org/abs/2306.15595); what LongLoRA trains with;
- yarn: slow frequencies divided, fast ones kept (https://arxiv.org/abs/2309.00071);
- dynamic: the base of the frequencies grows with the longest text of the pass (NTK-aware), and the layer keeps it until a text of no
  more than the training length comes. What a text becomes depends on those beside and before it, so encoders must not use it, and
  language models are measured behind `forget_lengths`.

The factor of LongLoRA (https://arxiv.org/abs/2309.12307, `fine-tune.py`): the new context over the model's own, rounded up.
"""

from __future__ import annotations

import copy
import logging
import math
import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field
from torch import nn

from bothways.backbone.sources import source_config
from bothways.config import Strict, parse
from bothways.errors import InputError

log = logging.getLogger("bothways")

#: Settings that can be replaced; the others (llama3, longrope) belong to a model's own training at long contexts.
REPLACED = ("default", "linear", "dynamic", "yarn")
#: What older loaders read beside `rope_scaling` rather than in it.
_BESIDE = ("rope_theta", "partial_rotary_factor")
#: What follows from how far positions are stretched, and is set anew.
_ANEW = ("rope_type", "type", "factor", "attention_factor", "original_max_position_embeddings", "max_position_embeddings")


class RopeConfig(Strict):
    """How a base is brought to a longer context."""

    type: Literal["linear", "dynamic", "yarn"] | None = Field(
        default=None,
        description="linear, as LongLoRA; yarn; dynamic (NTK), for language models only; absent: as the model was stretched before, "
        "else linear",
    )
    context: int = Field(
        ge=2, description="tokens that a text may have afterwards; one that the model reads already changes nothing"
    )
    factor: float | None = Field(
        default=None, ge=1, description="of stretching; context over the model's own, rounded up, when absent"
    )

    @classmethod
    def of(cls, value: RopeConfig | Mapping[str, Any]) -> RopeConfig:
        """A config from itself or from plain values.

        Raises:
            InputError: values that do not fit.
        """
        return value if isinstance(value, RopeConfig) else parse(cls, value, where="rope")


def trained_positions(wish: RopeConfig | Mapping[str, Any], own: RopeConfig | None, adapter: object) -> RopeConfig:
    """The positions to merge an adapter at: the wish, and what it leaves open as the adapter was trained.

    Args:
        wish: a mapping may leave out the type and the factor. Fewer tokens than the adapter's are read at the adapter's positions.
        own: the adapter's, as `merging.adapter_rope` finds them; None where it says nothing.
        adapter: how the message names it.

    Raises:
        InputError: values that do not fit, or positions of another type than the adapter's: the merged weights have never seen them.
    """
    if own is None:
        return RopeConfig.of(wish)
    said = wish.model_dump() if isinstance(wish, RopeConfig) else wish
    found = RopeConfig.of({**own.model_dump(), **{key: value for key, value in said.items() if value is not None}})
    if own.type not in (None, found.type):
        raise InputError(f"rope.type: {adapter} was trained with {own.type} positions, not {found.type}; set {own.type}")
    return found.model_copy(update={"context": max(found.context, own.context)})


def say_further(adapter: object, own: RopeConfig, wish: RopeConfig) -> None:
    """Warn that an adapter meets positions that it was not trained with."""
    log.warning(
        "%s: was trained with positions for %d tokens; stretched to %d they differ from those",
        adapter,
        own.context,
        wish.context,
    )


def given_positions(name: str | os.PathLike[str], rope: RopeConfig) -> RopeConfig | None:
    """The wish with the type that it comes to in the model at `name`; None where the model reads the context as it is.

    Raises:
        SourceError: no such model.
        InputError: see `extended`.
    """
    fields = rope_overrides(name, rope)
    return rope.model_copy(update={"type": fields["rope_parameters"]["rope_type"]}) if fields else None


def rope_overrides(name: str | os.PathLike[str], rope: RopeConfig) -> dict[str, Any]:
    """The config fields that give the model at `name` the longer context, for `load_pretrained(config_overrides=…)`.

    Raises:
        SourceError: no such model.
        InputError: see `extended`.
    """
    return extended(source_config(name), rope, str(name))


def extended(config: Any, rope: RopeConfig, name: str) -> dict[str, Any]:
    """Config fields to be changed: `rope_parameters` and `max_position_embeddings`.

    Dynamic NTK measures from `max_position_embeddings`, so that field is the length of training there.

    Args:
        config: of transformers, as the checkpoint has it.
        rope: the wish.
        name: what the user calls the model; opens the error lines.

    Returns:
        No field at all where the model reads the context already and no factor is asked for.

    Raises:
        InputError: positions that are not rotary, are set per layer type or inside a larger model, have been stretched already in a
            way that the wish cannot go on from, or are none that the family takes.
    """
    text = config.get_text_config(decoder=True)
    # whatever its positions are: llama3's, or of one kind per layer, as long-context models have them
    if rope.factor is None and rope.context <= (getattr(text, "max_position_embeddings", None) or 0):
        return {}
    if text is not config:
        raise InputError(f"rope: {name} ({config.model_type}) holds its text decoder inside; give the text model alone")
    own = getattr(config, "rope_parameters", None)
    if not own:
        raise InputError(f"rope: {name} ({config.model_type}) has no rotary positions to interpolate")
    if "rope_type" not in own:
        raise InputError(f"rope: {name} has rotary settings per layer type ({', '.join(own)}); set them in its config.json")
    kind = own["rope_type"]
    if kind not in REPLACED:
        raise InputError(f"rope: {name} has positions of its own kind ({kind}), made for long texts already; leave rope out")
    wanted = rope.type or ("linear" if kind == "default" else kind)
    if kind in ("linear", "yarn") and wanted != kind:
        # nor could the others start from linear positions: the config does not say how long the texts of the first training were
        raise InputError(f"rope: {name} was trained with {kind} positions, not {wanted}; set rope.type {kind}")
    positions = int(config.max_position_embeddings)
    if rope.factor is None and kind != "default":
        raise InputError(
            f"rope: {name} is interpolated already ({kind}, factor {own.get('factor')}); give rope.factor (--factor), the whole "
            "stretch from its first training"
        )
    original = int(own.get("original_max_position_embeddings") or positions)
    if rope.factor is not None:
        _check_factor(rope.context, rope.factor, positions, original if kind != "linear" else positions / own["factor"], name)
    factor = float(math.ceil(rope.context / original)) if rope.factor is None else rope.factor
    # the rest has nothing to do with how far positions are stretched
    kept = {key: value for key, value in own.items() if key not in _ANEW}
    settings = {**kept, "rope_type": wanted, "factor": factor}
    # dynamic grows from this length, the others end there
    fields = {"rope_parameters": settings, "max_position_embeddings": original if wanted == "dynamic" else rope.context}
    if wanted == "yarn":
        # transformers compares the ratio of both lengths with the factor
        settings["original_max_position_embeddings"] = original
        fields["max_position_embeddings"] = max(rope.context, round(factor * original))
    _check_taken(config, fields, name)
    return fields


def _check_taken(config: Any, fields: Mapping[str, Any], name: str) -> None:
    """Have transformers read the config with its changes, before weights are loaded, trained and then cannot be saved.

    Raises:
        InputError: the family refuses them (Phi-3 takes longrope alone).
    """
    try:
        type(config).from_dict({**copy.deepcopy(config.to_dict()), **copy.deepcopy(dict(fields))})
    except Exception as error:  # by family: KeyError, TypeError, huggingface_hub's own
        kind = fields["rope_parameters"]["rope_type"]
        reason = str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__
        raise InputError(
            f"rope: {name} ({config.model_type}) cannot have {kind} positions: {reason}; leave rope out"
        ) from error


def _check_factor(context: int, factor: float, positions: int, original: float, name: str) -> None:
    """Refuse a factor that does not reach the context, and a context that takes positions away.

    Raises:
        InputError: one of the two.
    """
    if context < positions:
        raise InputError(f"rope.context: {name} reads {positions} tokens already, more than {context}; leave rope out")
    if context > factor * original:
        raise InputError(
            f"rope.factor: {factor:g} stretches the {original:g} tokens of {name} to {factor * original:g}, not to {context}; give "
            f"{math.ceil(context / original)}, or leave it out where nothing was stretched before"
        )


def with_older_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """A written config in which loaders from before transformers 5 find the same positions.

    They read `rope_theta` beside `rope_scaling`, and without a word would take their own default for the one and unstretched positions
    for the other; transformers 5 reads both forms as one.

    Args:
        values: of config.json.
    """
    values = dict(values)
    settings = values.get("rope_parameters")
    if not settings or "rope_type" not in settings:  # or set per layer type, for which there are no older names
        return values
    if settings["rope_type"] != "default" and "rope_scaling" not in values:
        values["rope_scaling"] = {key: value for key, value in settings.items() if key not in _BESIDE}
    return {**values, **{key: settings[key] for key in _BESIDE if settings.get(key) is not None}}


def is_dynamic(config: Any) -> bool:
    """Whether a config's positions grow with the text, so that its `max_position_embeddings` is no limit."""
    settings = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    return settings.get("rope_type") == "dynamic"


def forget_lengths(model: nn.Module) -> None:
    """Set dynamic positions back to the length of training, as they were before any longer text was read; others stay as they are."""
    for module in model.modules():
        if getattr(module, "rope_type", None) == "dynamic":
            layer: Any = module
            layer.inv_freq = layer.original_inv_freq.to(layer.inv_freq.device, copy=True)
            layer.max_seq_len_cached = layer.original_max_seq_len
