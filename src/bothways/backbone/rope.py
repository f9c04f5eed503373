"""Position interpolation: a model reads texts longer than those of its training.

It is only a setting of the model's config. The arithmetic is transformers' own, and a saved model
carries the setting to every loader. The new settings follow from the old config alone, without
loading weights.

- linear: every position is divided by the factor (position interpolation,
  https://arxiv.org/abs/2306.15595). LongLoRA trains with it.
- yarn: slow frequencies are divided and fast ones kept (https://arxiv.org/abs/2309.00071).
- dynamic: the base of the frequencies grows with the longest text of the pass (NTK-aware). The
  layer keeps it until a text no longer than the training length arrives. In other loaders the
  states of a text thus depend on the texts in the same and earlier passes (here not, see
  `attention.text_rope`). So encoders must not use it, and language models are measured after
  `forget_lengths`.

The factor is LongLoRA's (https://arxiv.org/abs/2309.12307, `fine-tune.py`): the new context over
the model's own, rounded up.
"""

from __future__ import annotations

import copy
import logging
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from torch import nn

from bothways.attention.text_rope import changing, forget_length
from bothways.backbone.loading.sources import source_config
from bothways.config import Strict, parse
from bothways.errors import InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

log = logging.getLogger("bothways")

#: Settings that can be replaced. The others (llama3, longrope) belong to a model's own training at
#: long contexts.
REPLACED = ("default", "linear", "dynamic", "yarn")
#: Older loaders read these next to `rope_scaling` rather than in it.
_BESIDE = ("rope_theta", "partial_rotary_factor")
#: Fields that depend on how far positions are stretched. They are set again.
_ANEW = (
    "rope_type",
    "type",
    "factor",
    "attention_factor",
    "original_max_position_embeddings",
    "max_position_embeddings",
)


class RopeConfig(Strict):
    """The extension of a base to a longer context.

    For example {"type": "linear", "context": 8192}.
    """

    type: Literal["linear", "dynamic", "yarn"] | None = Field(
        default=None,
        description="linear (as LongLoRA), yarn, or dynamic (NTK, for language models only); if absent, the type with which "
        "the model was stretched before, else linear",
    )
    context: int = Field(
        ge=2,
        description="tokens that a text may have afterwards; a length that the model already reads changes nothing",
    )
    factor: float | None = Field(
        default=None,
        ge=1,
        description="factor of stretching; if absent, context over the model's own length, rounded up",
    )

    @classmethod
    def of(cls, value: RopeConfig | Mapping[str, Any]) -> RopeConfig:
        """Make a config from plain values, or return a config unchanged.

        Raises:
            InputError: if the values do not fit.
        """
        return value if isinstance(value, RopeConfig) else parse(cls, value, where="rope")


def trained_positions(
    wish: RopeConfig | Mapping[str, Any], own: RopeConfig | None, adapter: object
) -> RopeConfig:
    """Combine a wish with an adapter's training settings to the positions for merging it.

    Args:
        wish: the requested positions. A mapping may omit the type and the factor, which are then
            the adapter's. If it asks for fewer tokens than the adapter's, the adapter's context is
            used.
        own: the adapter's positions, as `merging.adapter_rope` finds them. None if it does not name
            any.
        adapter: the adapter's name in messages.

    Raises:
        InputError: if the values do not fit, or if their type is not the adapter's. The merged
            weights have never seen such positions.
    """
    if own is None:
        return RopeConfig.of(wish)
    said = wish.model_dump() if isinstance(wish, RopeConfig) else wish
    found = RopeConfig.of(
        {**own.model_dump(), **{key: value for key, value in said.items() if value is not None}}
    )
    if own.type not in (None, found.type):
        raise InputError(
            f"rope.type: {adapter} was trained with {own.type} positions, not {found.type}; set {own.type}"
        )
    return found.model_copy(update={"context": max(found.context, own.context)})


def say_further(adapter: object, own: RopeConfig, wish: RopeConfig) -> None:
    """Warn that an adapter is used with positions that it was not trained with."""
    log.warning(
        "%s: was trained with positions for %d tokens, which differ from positions stretched to %d",
        adapter,
        own.context,
        wish.context,
    )


def given_positions(name: str | os.PathLike[str], rope: RopeConfig) -> RopeConfig | None:
    """Complete the wish with the type that it gets in the model at `name`.

    The result is None if the model already reads the context.

    Raises:
        SourceError: if there is no such model.
        InputError: as in `extended`.
    """
    fields = rope_overrides(name, rope)
    return (
        rope.model_copy(update={"type": fields["rope_parameters"]["rope_type"]}) if fields else None
    )


def rope_overrides(name: str | os.PathLike[str], rope: RopeConfig) -> dict[str, Any]:
    """Return the config fields that give the model at `name` the longer context.

    Pass them to `load_pretrained(config_overrides=…)`.

    Raises:
        SourceError: if there is no such model.
        InputError: as in `extended`.
    """
    return extended(source_config(name), rope, str(name))


def extended(config: PretrainedConfig, rope: RopeConfig, name: str) -> dict[str, Any]:
    """Compute the config fields to change: `rope_parameters` and `max_position_embeddings`.

    Dynamic NTK measures from `max_position_embeddings`, so with it that field is the training
    length.

    Args:
        config: transformers' config, as the checkpoint has it.
        rope: the wish.
        name: the model's name as the user gave it, which starts the messages.

    Returns:
        The changed fields. Empty if the model already reads the context and no factor is given.

    Raises:
        InputError: if the positions are not rotary, are set per layer type or inside a larger
            model, have already been stretched in a way that the wish cannot continue, or if the
            family does not accept the new ones.
    """
    text = config.get_text_config(decoder=True)
    # This holds for positions of any kind: llama3's, or one kind per layer, as long-context models
    # have them.
    if rope.factor is None and rope.context <= (
        getattr(text, "max_position_embeddings", None) or 0
    ):
        return {}
    if text is not config:
        raise InputError(
            f"rope: {name} ({config.model_type}) holds its text decoder inside; give the text model alone"
        )
    own = _own_positions(config, name)
    kind = own["rope_type"]
    wanted = rope.type or ("linear" if kind == "default" else kind)
    if kind in ("linear", "yarn") and wanted != kind:
        # The other types cannot start from linear positions either, because the config does not
        # tell the text length of the first training.
        raise InputError(
            f"rope: {name} was trained with {kind} positions, not {wanted}; set rope.type {kind}"
        )
    positions = int(config.max_position_embeddings)
    if rope.factor is None and kind != "default":
        raise InputError(
            f"rope: {name} is already interpolated ({kind}, factor {own.get('factor')}); give rope.factor (--factor), "
            "the total factor from its original context length"
        )
    original = int(own.get("original_max_position_embeddings") or positions)
    if rope.factor is not None:
        _check_factor(
            rope.context,
            rope.factor,
            positions,
            original if kind != "linear" else positions / own["factor"],
            name,
        )
    factor = float(math.ceil(rope.context / original)) if rope.factor is None else rope.factor
    fields = _fields(own, wanted, factor, rope.context, original)
    _check_taken(config, fields, name)
    return fields


def _own_positions(config: PretrainedConfig, name: str) -> dict[str, Any]:
    """Return the config's `rope_parameters`, if they can be changed.

    Raises:
        InputError: if they are absent, set per layer type, or of a kind that cannot be replaced.
    """
    own: dict[str, Any] | None = getattr(config, "rope_parameters", None)
    if not own:
        raise InputError(
            f"rope: {name} ({config.model_type}) has no rotary positions to interpolate"
        )
    if "rope_type" not in own:
        raise InputError(
            f"rope: {name} has rotary settings per layer type ({', '.join(own)}); set them in its config.json"
        )
    if own["rope_type"] not in REPLACED:
        raise InputError(
            f"rope: {name} already has positions for long texts, of its own kind ({own['rope_type']}); leave rope out"
        )
    return own


def _fields(
    own: Mapping[str, Any], kind: str, factor: float, context: int, original: int
) -> dict[str, Any]:
    """Build the config fields of positions of a kind.

    Args:
        own: the model's own settings.
        kind: type of interpolation.
        factor: factor of stretching.
        context: tokens of a text afterwards.
        original: tokens of a text before any stretching.
    """
    # The other fields do not depend on how far positions are stretched.
    kept = {key: value for key, value in own.items() if key not in _ANEW}
    settings = {**kept, "rope_type": kind, "factor": factor}
    # dynamic grows from this length, the others end at it
    fields: dict[str, Any] = {
        "rope_parameters": settings,
        "max_position_embeddings": original if kind == "dynamic" else context,
    }
    if kind == "yarn":
        # transformers compares the ratio of both lengths with the factor
        settings["original_max_position_embeddings"] = original
        fields["max_position_embeddings"] = max(context, round(factor * original))
    return fields


def _check_taken(config: PretrainedConfig, fields: Mapping[str, Any], name: str) -> None:
    """Let transformers read the changed config now, before weights are loaded and trained.

    Raises:
        InputError: if the family refuses it (Phi-3 accepts only longrope).
    """
    try:
        type(config).from_dict({**copy.deepcopy(config.to_dict()), **copy.deepcopy(dict(fields))})
    except Exception as error:  # differs by family: KeyError, TypeError, huggingface_hub's own
        kind = fields["rope_parameters"]["rope_type"]
        reason = (
            str(error).strip().splitlines()[-1].strip()
            if str(error).strip()
            else type(error).__name__
        )
        raise InputError(
            f"rope: {name} ({config.model_type}) cannot have {kind} positions: {reason}; leave rope out"
        ) from error


def _check_factor(context: int, factor: float, positions: int, original: float, name: str) -> None:
    """Refuse a factor that does not reach the context, and a context that takes positions away.

    Raises:
        InputError: if either is the case.
    """
    if context < positions:
        raise InputError(
            f"rope.context: {name} already reads {positions} tokens, more than {context}; leave rope out"
        )
    if context > factor * original:
        raise InputError(
            f"rope.factor: {factor:g} stretches the {original:g} tokens of {name} to {factor * original:g}, not to {context}; give "
            f"{math.ceil(context / original)}, or leave it out if nothing was stretched before"
        )


def with_older_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the names under which loaders older than transformers 5 find the same positions.

    They read `rope_theta` and `rope_scaling`. If those are missing, they silently use their own
    default for the one and unstretched positions for the other. transformers 5 reads both forms as
    one.

    Args:
        values: the values of config.json. They are not changed.
    """
    values = dict(values)
    settings = values.get("rope_parameters")
    # settings per layer type do not have older names
    if not settings or "rope_type" not in settings:
        return values
    if settings["rope_type"] != "default" and "rope_scaling" not in values:
        values["rope_scaling"] = {
            key: value for key, value in settings.items() if key not in _BESIDE
        }
    return {**values, **{key: settings[key] for key in _BESIDE if settings.get(key) is not None}}


def is_dynamic(config: PretrainedConfig) -> bool:
    """Tell if a config's positions grow with the text, beyond `max_position_embeddings`."""
    settings = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    return settings.get("rope_type") == "dynamic"


def forget_lengths(model: nn.Module) -> None:
    """Reset dynamic positions to the training length, as before any longer text was read.

    Positions of other types are not changed.
    """
    for module in changing(model):
        forget_length(module)
