"""Which tokens the masks of a model show: read off the mask functions that its family hands to transformers.

A config says how wide a window is in the family's own way: Gemma 3 halves `sliding_window` under `use_bidirectional_attention` and
then counts exclusively, transformers' own bidirectional masks count inclusively. Here nothing is computed from config fields. One
pass over two tokens collects the functions that draw the masks, and asking them about pairs of places gives the reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from bothways.attention.stock import can_set_implementation, quiet, set_implementation
from bothways.attention.text_config import text_configs, windowed_layers

_NAME = "sdpa"  # an implementation whose layers take any mask; only its mask factory is replaced
_SPARE = 2  # places beyond the widest window that are asked about

_functions: ContextVar[list[Callable[..., Any]] | None] = ContextVar("bothways_mask_functions", default=None)


class Reach(NamedTuple):
    """Tokens before and after its own that a token sees through one mask; None for any number."""

    before: int | None
    after: int | None


def drawn(model: nn.Module) -> tuple[Reach, ...] | None:
    """The reach of each mask that the model draws for a text without padding, in the order in which it draws them.

    Args:
        model: a bare transformers model, in the direction that is to be measured; left as it was.

    Returns:
        One reach for each mask; None where the family draws its masks in its own code, which cannot be asked.
    """
    if not can_set_implementation(model):
        return None
    config = next(text_configs(model))
    windows = windowed_layers(config)
    places = max(windows.values(), default=0) + _SPARE
    before = config._attn_implementation
    try:
        set_implementation(model, _NAME)
    except (ValueError, ImportError):
        return None
    ids = torch.tensor([[0, 0]], device=next(model.parameters()).device)
    try:
        with quiet(model), _recording() as functions:
            model(input_ids=ids, use_cache=False)
    except Exception:  # a family without such masks may stop in any way; the doctor then compares states
        return None
    finally:
        set_implementation(model, before)
    try:
        return tuple(_reach(function, places) for function in functions) or None
    except Exception:  # a mask function of a form that takes no tensors of places
        return None


@contextmanager
def _recording() -> Iterator[list[Callable[..., Any]]]:
    functions: list[Callable[..., Any]] = []
    token = _functions.set(functions)
    original = AttentionMaskInterface()[_NAME]
    AttentionMaskInterface.register(_NAME, _record)
    try:
        yield functions
    finally:
        AttentionMaskInterface.register(_NAME, original)
        _functions.reset(token)


def _record(*args: Any, **kwargs: Any) -> Any:
    functions = _functions.get()
    if functions is not None and kwargs.get("mask_function") is not None:
        functions.append(kwargs["mask_function"])
    return sdpa_mask(*args, **kwargs)


def _reach(function: Callable[..., Any], places: int) -> Reach:
    """How far the middle of 2 · places + 1 tokens sees to both sides."""
    zero = torch.zeros((), dtype=torch.long)
    middle = torch.tensor(places)
    keys = torch.arange(2 * places + 1)
    seen = torch.as_tensor(function(zero, zero, middle, keys)).expand(len(keys))
    found = seen.nonzero().flatten()
    before, after = places - int(found.min()), int(found.max()) - places
    return Reach(None if before == places else before, None if after == places else after)
