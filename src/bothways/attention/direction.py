"""Switches a loaded decoder to bidirectional attention, or back to causal.

The switch survives saving, and every stock loader follows it. In transformers three settings decide
which tokens see which. All three are set, because each loader reads another one:

- `config.is_causal`: if it is False, transformers ≥ 5.2 draws a bidirectional mask.
  sentence-transformers and vLLM read it too.
- `config.use_bidirectional_attention`: read by Gemma 3 and later, and by text-embeddings-inference
  for Llama, Mistral and Qwen3.
- `is_causal` of each attention module: read by FlashAttention 2, and by SDPA if no mask is drawn.

Sliding windows are the fourth. They hide far tokens in either direction, and vLLM takes them as a
sign of causality. Lifting a window must change nothing but visibility. Families without layer types
get `sliding_window: null`. In families with layer types, sliding layers may have their own RoPE
base (Gemma 3) or be the only ones with RoPE (Cohere 2, EXAONE 4). So their type stays, and the
window becomes wider than any text.

A model may have been bidirectional by its family's own switch. If its window is kept, it keeps its
reach as measured on the masks, because Gemma 3 counts the window in another way once `is_causal` is
False. The config keeps the values before the switch as `bothways_original`, so that a saved encoder
can be made causal again.

Method: LLM2Vec, arXiv 2404.05961, section 2.1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from torch import nn
from transformers import PretrainedConfig

from bothways.attention.drawn import Reach, drawn
from bothways.attention.older_loaders import unguard
from bothways.attention.stock import needs_eager
from bothways.attention.text_config import (
    UNBOUNDED,
    WINDOW_FIELDS,
    is_encoder_only,
    is_window,
    text_configs,
    windowed_layers,
)
from bothways.config import Direction
from bothways.errors import InputError, UnsupportedFamily
from bothways.nearest import did_you_mean

ORIGINAL = "bothways_original"
"""Config field with the value of each changed field before the switch (null if it was absent)."""

_FLAG = "use_bidirectional_attention"


@dataclass(frozen=True)
class DirectionReport:
    """The result of `set_direction`.

    Args:
        direction: the model's direction now.
        lifted_windows: layer index → tokens of the window it had.
        kept_windows: layer index → tokens of the window it still has.
        needs_eager: True if a plain loader must be told `attn_implementation="eager"`. Otherwise
            the saved folder turns causal there.
        notes: remarks for the user, one sentence each.
    """

    direction: Direction
    lifted_windows: Mapping[int, int]
    kept_windows: Mapping[int, int]
    needs_eager: bool
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a provenance file. Layers become strings, as JSON keys are."""
        return {
            "direction": self.direction,
            "lifted_windows": {str(layer): size for layer, size in self.lifted_windows.items()},
            "kept_windows": {str(layer): size for layer, size in self.kept_windows.items()},
            "needs_eager": self.needs_eager,
            "notes": list(self.notes),
        }


def set_direction(
    model: nn.Module, direction: Direction, *, windows: str = "lift", eager: bool | None = None
) -> DirectionReport:
    """Make `model` bidirectional or causal, in place.

    Args:
        model: a transformers backbone, with or without adapters.
        direction: "bidirectional", or "causal" to undo this function, windows included.
        windows: "lift" lets every token see every other. "keep" leaves sliding windows as they are,
            looking both ways (transformers' convention: distance ≤ window). It has no effect with
            "causal".
        eager: `needs_eager` of the report, if it is known. If None, it is measured.

    Returns:
        The changes. For an encoder-only backbone (BERT, …) and "bidirectional" there are none.

    Raises:
        UnsupportedFamily: if "causal" is requested for an encoder-only backbone, if chunked
            attention is to be kept, or if the kept windows would change with the direction.
        InputError: if `direction` or `windows` has another value.
    """
    _check(direction, windows)
    configs = list(text_configs(model))
    text = configs[0]
    if is_encoder_only(text):
        if direction == "causal":
            raise UnsupportedFamily(
                f"{text.model_type}: an encoder-only backbone has no causal direction"
            )
        note = f"{text.model_type} is bidirectional by nature: nothing was switched"
        return DirectionReport(direction, {}, {}, False, (note,))
    before = windowed_layers(text)
    keeping = (
        direction == "bidirectional"
        and windows == "keep"
        and bool(before)
        and uses_own_switch(text)
    )
    reach = drawn(model) if keeping else None
    notes: list[str] = []
    for config in configs:
        if direction == "causal":
            _restore(config)
        else:
            _switch(config, windows, notes)
    for module in model.modules():
        if isinstance(getattr(module, "is_causal", None), bool):
            module.is_causal = direction == "causal"  # type: ignore[assignment]
        _follow(module, text)
    if reach is not None and looks_ahead(reach):
        _keep_reach(model, configs, reach)
    after = windowed_layers(text)
    lifted = {layer: size for layer, size in before.items() if layer not in after}
    if eager is None:
        eager = direction == "bidirectional" and needs_eager(model)
    return DirectionReport(
        direction, lifted, after, eager, _notes(direction, lifted, after, eager, notes)
    )


def _check(direction: str, windows: str) -> None:
    """Raise InputError if an argument is not one of its values."""
    if direction not in ("bidirectional", "causal"):
        near = did_you_mean(direction, ("bidirectional", "causal"))
        raise InputError(
            f"direction: must be 'bidirectional' or 'causal' (got {direction!r}){near}"
        )
    if windows not in ("lift", "keep"):
        raise InputError(f"windows: must be 'lift' or 'keep' (got {windows!r})")


def uses_own_switch(config: PretrainedConfig) -> bool:
    """Tell if the config requests attention in both directions by `use_bidirectional_attention`.

    Gemma 4 also has the value "vision", which concerns only images.
    """
    return getattr(config, _FLAG, None) in (True, "all")


def looks_ahead(reach: tuple[Reach, ...]) -> bool:
    """Tell if every mask shows tokens to the right."""
    return all(mask.after != 0 for mask in reach)


def published_form(config: PretrainedConfig) -> PretrainedConfig | None:
    """Return the config as its author published it, or None if there is nothing to go back to.

    This applies if it was bidirectional by its family's own switch and keeps its windows. Other
    loaders (vLLM, text-embeddings-inference) know the author's form, so a saved folder uses it.

    Returns:
        A copy of the config in the author's form, or None.
    """
    original: dict[str, Any] = dict(getattr(config, ORIGINAL, None) or {})
    if (
        original.get(_FLAG) not in (True, "all")
        or not original.keys() & set(WINDOW_FIELDS)
        or not windowed_layers(config)
    ):
        return None
    form = copy.deepcopy(config)
    delattr(form, ORIGINAL)
    for field, value in original.items():
        _put_back(form, field, value)
    return form


def direction_of(model: nn.Module) -> Direction:
    """Return the direction that the model's config claims. `probe.prove_direction` checks it."""
    config = next(text_configs(model))
    if is_encoder_only(config):
        return "bidirectional"
    return "bidirectional" if getattr(config, "is_causal", True) is False else "causal"


def _notes(
    direction: Direction,
    lifted: Mapping[int, int],
    kept: Mapping[int, int],
    eager: bool,
    notes: list[str],
) -> tuple[str, ...]:
    if direction == "causal":
        return ()
    for layers, what in (
        (lifted, "lifted"),
        (kept, "kept: tokens farther apart do not see each other in these layers"),
    ):
        if layers:
            sizes = " and ".join(str(size) for size in sorted(set(layers.values())))
            notes.append(f"sliding window of {sizes} tokens in {len(layers)} layers {what}")
    if eager:
        notes.append(
            'other loaders need attn_implementation="eager": with SDPA this family turns causal on texts without padding'
        )
    return tuple(dict.fromkeys(notes))


def _switch(config: PretrainedConfig, windows: str, notes: list[str]) -> None:
    original: dict[str, Any] = dict(getattr(config, ORIGINAL, None) or {})

    def change(field: str, value: object) -> None:
        original.setdefault(field, getattr(config, field, None))
        setattr(config, field, value)

    if windows == "lift":
        _lift(config, change)
    elif "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        raise UnsupportedFamily(
            f"{config.model_type}: transformers draws chunked attention causally, so its chunks cannot be kept"
        )
    change("is_causal", False)
    change(_FLAG, _flag(config))
    if windows == "keep" and not _survives_saving(config):
        _put_back(config, _FLAG, original.pop(_FLAG))
        notes.append(
            f"{_FLAG} is left out: {config.model_type} would change its window at every save"
        )
    setattr(config, ORIGINAL, original)


def _keep_reach(
    model: nn.Module, configs: list[PretrainedConfig], wanted: tuple[Reach, ...]
) -> None:
    """Restore the reach that the model's masks had before the switch to the kept windows.

    Raises:
        UnsupportedFamily: if no width of the windows restores it.
    """
    found = drawn(model)
    gaps = [
        a.after - b.after
        for a, b in zip(wanted, found or ())
        if a.after is not None and b.after is not None
    ]
    if found != wanted and len(set(gaps)) == 1:
        for config in configs:
            for field in WINDOW_FIELDS:
                size = getattr(config, field, None)
                if is_window(size):
                    getattr(config, ORIGINAL).setdefault(field, size)
                    setattr(config, field, int(size or 0) + gaps[0])
        for module in model.modules():
            _follow(module, configs[0])
        found = drawn(model)
    if found != wanted:
        raise UnsupportedFamily(
            f"{configs[0].model_type}: its sliding windows change with the direction and cannot be kept"
        )


def _lift(config: PretrainedConfig, change: Callable[[str, Any], None]) -> None:
    kinds = getattr(config, "layer_types", None)
    if kinds and "chunked_attention" in kinds:
        # In Llama 4 the type chooses only the mask (layers without RoPE are listed separately), and
        # the chunked mask is always causal.
        change(
            "layer_types",
            ["full_attention" if kind == "chunked_attention" else kind for kind in kinds],
        )
    for field in WINDOW_FIELDS:
        if is_window(getattr(config, field, None)):
            change(field, UNBOUNDED if kinds else None)


def _restore(config: PretrainedConfig) -> None:
    unguard(config)
    original: dict[str, Any] = dict(getattr(config, ORIGINAL, None) or {})
    if hasattr(config, ORIGINAL):
        delattr(config, ORIGINAL)
    # A model that others had published as bidirectional becomes causal too, because the caller
    # asked for it.
    for field, value in original.items():
        _put_back(config, field, value)
    if uses_own_switch(config):
        # Under the switch the family counts its window in another way. It writes the window without
        # the switch.
        windows = {
            field: value
            for field, value in config.to_dict().items()
            if field in WINDOW_FIELDS and is_window(value)
        }
        windows = windows if _survives_saving(config) else {}
        for field, value in {_FLAG: None, **windows}.items():
            _put_back(config, field, value)
    _put_back(config, "is_causal", True)


def _put_back(config: PretrainedConfig, field: str, value: object) -> None:
    if value is not None or hasattr(type(config), field):
        setattr(config, field, value)
    elif hasattr(config, field):
        delattr(config, field)


def _flag(config: PretrainedConfig) -> bool | str:
    """Return True, or "all" if the flag is declared as Literal["all", "vision"] (Gemma 4)."""
    for kind in type(config).__mro__:
        hint = vars(kind).get("__annotations__", {}).get(_FLAG)
        if hint is not None:
            return (
                "all" if any("all" in get_args(part) for part in (hint, *get_args(hint))) else True
            )
    return True


def _survives_saving(config: PretrainedConfig) -> bool:
    """Tell if a saved and reloaded config has the same windows as the one in memory.

    Gemma 3n doubles them under the flag.
    """
    reloaded = type(config).from_dict(config.to_dict())
    return all(
        getattr(reloaded, field, None) == getattr(config, field, None) for field in WINDOW_FIELDS
    )


def _follow(module: nn.Module, config: PretrainedConfig) -> None:
    """Set the window that a layer copied when it was built to that of its config."""
    for field in WINDOW_FIELDS:
        if isinstance(vars(module).get(field), int) and hasattr(config, field):
            setattr(module, field, getattr(config, field))
