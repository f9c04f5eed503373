"""Position interpolation: rotary positions stretched so that a model reads texts longer than it was trained on.

A setting of the model's config and nothing else: the arithmetic is transformers' own, and a saved model carries the setting to every
loader. It stands apart because deciding is not loading: the new settings follow from the old config alone.

- linear: every position divided by the factor (position interpolation, https://arxiv.org/abs/2306.15595); what LongLoRA trains with;
- yarn: slow frequencies divided, fast ones kept (https://arxiv.org/abs/2309.00071);
- dynamic: the base of the frequencies grows with the longest text of the pass (NTK-aware). A text alone is read the same way every
  time, but not beside a longer one, so encoders must not use it.

The factor of LongLoRA (https://arxiv.org/abs/2309.12307, `fine-tune.py`): the new context over the model's own, rounded up.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from bothways.backbone.sources import source_config
from bothways.config import Strict, parse
from bothways.errors import InputError

#: Settings that can be replaced; the others (llama3, longrope) belong to a model's own training at long contexts.
REPLACED = ("default", "linear", "dynamic", "yarn")


class RopeConfig(Strict):
    """How a base is brought to a longer context."""

    type: Literal["linear", "dynamic", "yarn"] = Field(
        default="linear", description="linear, as LongLoRA; yarn; dynamic (NTK), for language models only"
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


def rope_overrides(name: str | os.PathLike[str], rope: RopeConfig) -> dict[str, Any]:
    """The config fields that give the model at `name` the longer context, for `load_pretrained(config_overrides=…)`.

    Raises:
        SourceError: no such model.
        InputError: see `extended`.
    """
    return extended(source_config(name), rope, str(name))


def extended(config: Any, rope: RopeConfig, name: str) -> dict[str, Any]:
    """Config fields to be changed: `rope_parameters` and, beside linear and yarn, `max_position_embeddings`.

    Dynamic NTK measures from `max_position_embeddings`, so that field keeps the length of training there.

    Args:
        config: of transformers, as the checkpoint has it.
        rope: the wish.
        name: what the user calls the model; opens the error lines.

    Returns:
        No field at all where the model reads the context already and no factor is asked for.

    Raises:
        InputError: positions that are not rotary, are set per layer type or inside a larger model, or have been stretched already in a
            way that the wish cannot go on from.
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
    positions = int(config.max_position_embeddings)
    if rope.factor is None and kind != "default":
        raise InputError(
            f"rope: {name} is interpolated already ({kind}, factor {own.get('factor')}); give rope.factor, the whole stretch from "
            "its first training"
        )
    if rope.type == "yarn" and kind == "linear" and "original_max_position_embeddings" not in own:
        # by its definition yarn keeps frequencies by the wavelengths of the first training; the config has the stretched length only
        raise InputError(
            f"rope: {name} is interpolated linearly and does not say from what length, which yarn must know; take the model as it was "
            "first trained, or rope.type linear"
        )
    original = int(own.get("original_max_position_embeddings") or positions)
    if rope.factor is not None:
        _check_factor(rope.context, rope.factor, positions, original if kind != "linear" else positions / own["factor"], name)
    factor = float(math.ceil(rope.context / original)) if rope.factor is None else rope.factor
    kept = {key: own[key] for key in ("rope_theta", "partial_rotary_factor") if key in own}
    settings = {**kept, "rope_type": rope.type, "factor": factor}
    if rope.type == "dynamic":
        return {"rope_parameters": settings}
    if rope.type == "yarn":
        # transformers compares the ratio of both lengths with the factor
        settings["original_max_position_embeddings"] = original
        return {"rope_parameters": settings, "max_position_embeddings": max(rope.context, round(factor * original))}
    return {"rope_parameters": settings, "max_position_embeddings": rope.context}


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
    """A written config in which loaders from before transformers 5 find stretched positions too.

    They read `rope_scaling` and a `rope_theta` beside it, and would run unstretched positions without a word; transformers 5 reads
    both forms as one.

    Args:
        values: of config.json.
    """
    values = dict(values)
    settings = values.get("rope_parameters")
    if not settings or settings.get("rope_type", "default") == "default" or "rope_scaling" in values:
        return values
    beside = ("rope_theta", "partial_rotary_factor")
    values["rope_scaling"] = {key: value for key, value in settings.items() if key not in beside}
    return {**values, **{key: settings[key] for key in beside if settings.get(key) is not None}}
