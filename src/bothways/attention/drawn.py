"""Measures which tokens the masks of a model show, from the mask functions of its family.

Families state the width of a window in different ways. Gemma 3 halves `sliding_window` under
`use_bidirectional_attention` and then counts exclusively. transformers' own bidirectional masks
count inclusively. So nothing is computed from config fields here. One pass over two tokens collects
the functions that draw the masks. Calling them on pairs of positions gives the reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from bothways.attention.stock import can_set_implementation, evaluation_mode, set_implementation
from bothways.attention.text_config import text_configs, windowed_layers

_NAME = "sdpa"  # its layers accept any mask, and only its mask factory is replaced
_SPARE = 2  # positions beyond the widest window that are tested

_functions: ContextVar[list[Callable[..., Any]] | None] = ContextVar(
    "bothways_mask_functions", default=None
)


class Reach(NamedTuple):
    """The number of tokens before and after its own that a token sees through one mask.

    None means any number.
    """

    before: int | None
    after: int | None


def drawn(model: nn.Module) -> tuple[Reach, ...] | None:
    """Measure the reach of each mask that the model draws for a text without padding.

    The masks are in the order in which the model draws them.

    Args:
        model: a bare transformers model, in the direction to measure. It is not changed.

    Returns:
        One reach for each mask. None if the family draws its masks in its own code, which cannot be
            called.
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
        with evaluation_mode(model), _recording() as functions:
            model(input_ids=ids, use_cache=False)
    except Exception:  # The family may fail in any way. The doctor then compares states.
        return None
    finally:
        set_implementation(model, before)
    try:
        return tuple(_reach(function, places) for function in functions) or None
    except Exception:  # a mask function that does not accept tensors of positions
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
    """Measure how far the middle one of 2 · places + 1 tokens sees to both sides."""
    zero = torch.zeros((), dtype=torch.long)
    middle = torch.tensor(places)
    keys = torch.arange(2 * places + 1)
    seen = torch.as_tensor(function(zero, zero, middle, keys)).expand(len(keys))
    found = seen.nonzero().flatten()
    before, after = places - int(found.min()), int(found.max()) - places
    return Reach(None if before == places else before, None if after == places else after)
