"""Gives every text of a packed row the rotary frequencies of its own length.

Two kinds of rotary positions change with the length of the input: `longrope` has one set of
frequencies up to the length of pretraining and another beyond it (Phi-3), and `dynamic` stretches
them beyond it. transformers takes the longest text of a pass for all of them, and keeps stretched
frequencies for the passes that follow. A text's vector would depend on its neighbors and on what
was encoded before. Here each text gets what it would get alone in a fresh model. Packed rows run as
one pass. A padded batch runs as one pass for each class of lengths. In a graph that is traced, the
frequencies of each row of a padded batch are computed from its length (`rope_of_rows`).

Letters: B rows, L tokens, F frequencies.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from bothways.attention.text_config import text_configs

KINDS = ("dynamic", "longrope")

_LOCKS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()


@contextmanager
def rope_of_each_text(model: nn.Module, lengths: Sequence[int]) -> Iterator[None]:
    """Run passes of packed rows inside with the frequencies of each text.

    Nothing changes for other kinds of positions. Threads that share a model with such positions
    take turns, because a pass changes its rotary modules.

    Args:
        model: a bare backbone.
        lengths: tokens of each text of the row, in order.
    """
    with _forwards(model, lambda module: _per_text(module, lengths)) as modules:
        try:
            yield
        finally:
            for module in modules:
                forget_length(module)


def passes_of(model: nn.Module, lengths: Sequence[int]) -> list[list[int]]:
    """Divide the texts of a padded batch into passes whose texts share their frequencies.

    For example, texts of 9, 40 and 12 tokens make the passes [0, 2] and [1] if the frequencies
    change beyond 32 tokens.

    Args:
        model: a bare backbone.
        lengths: tokens of each text.
    """
    passes: dict[tuple[int, ...], list[int]] = {}
    kinds = [
        (kind, _usual(module, layer, kind))
        for module in changing(model)
        for layer, kind in _kinds(module).items()
        if kind in KINDS
    ]
    for number, length in enumerate(lengths):
        classes = tuple(_class_of(length, kind, usual) for kind, usual in kinds)
        passes.setdefault(classes, []).append(number)
    return list(passes.values())


@contextmanager
def fresh_rope(model: nn.Module) -> Iterator[None]:
    """Run one pass inside with frequencies that no earlier text has stretched."""
    modules = changing(model)
    if not modules:
        yield
        return
    with _LOCKS.setdefault(model, threading.RLock()):
        try:
            for module in modules:
                forget_length(module)
            yield
        finally:
            for module in modules:
                forget_length(module)


@contextmanager
def rope_of_rows(model: nn.Module, lengths: Tensor) -> Iterator[None]:
    """Run one padded batch inside with the frequencies of each row, in operations for a graph.

    A graph is traced once for all lengths. So it may neither choose by a length in Python, nor keep
    frequencies for the next pass.

    Args:
        model: a bare backbone.
        lengths: (B,) int64, tokens of each row.
    """
    with _forwards(model, lambda module: _per_row(module, lengths)):
        yield


@contextmanager
def _forwards(
    model: nn.Module, build: Callable[[nn.Module], Callable[..., tuple[Tensor, Tensor]]]
) -> Iterator[list[Any]]:
    """Give the rotary modules other forwards inside, one thread at a time, and yield them."""
    modules = changing(model)
    if not modules:
        yield modules
        return
    with _LOCKS.setdefault(model, threading.RLock()):
        for module in modules:
            module.forward = build(module)
        try:
            yield modules
        finally:
            for module in modules:
                del module.forward


def changing(model: nn.Module) -> list[Any]:
    """Find the rotary modules whose frequencies follow the length of the input."""
    settings = getattr(next(text_configs(model)), "rope_parameters", None) or {}
    stated = [settings, *(each for each in settings.values() if isinstance(each, dict))]
    if not any(each.get("rope_type") in KINDS for each in stated):
        return []
    return [
        module
        for module in model.modules()
        if any(kind in KINDS for kind in _kinds(module).values())
    ]


def forget_length(module: nn.Module) -> None:
    """Reset frequencies that a rotary module has stretched for a longer text, in place."""
    for layer in _kinds(module):
        prefix = "" if layer is None else f"{layer}_"
        original = getattr(module, f"{prefix}original_inv_freq", None)
        if isinstance(original, Tensor):
            now = getattr(module, f"{prefix}inv_freq")
            setattr(module, f"{prefix}inv_freq", original.to(now.device, copy=True))
        if hasattr(module, f"{prefix}max_seq_len_cached"):
            setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)


def _kinds(module: nn.Module) -> dict[str | None, str]:
    """Give a rotary module's kind for each type of layer, or for None if all layers share one."""
    kind = getattr(module, "rope_type", None)
    return kind if isinstance(kind, dict) else {None: kind} if isinstance(kind, str) else {}


def _per_text(module: nn.Module, lengths: Sequence[int]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Build a forward that computes cosines and sines for one class of lengths after the other."""
    stock = type(module).forward.__get__(module)
    total = sum(lengths)

    def forward(
        x: Tensor, position_ids: Tensor, layer_type: str | None = None
    ) -> tuple[Tensor, Tensor]:
        more = {} if layer_type is None else {"layer_type": layer_type}
        kind = _kinds(module).get(layer_type)
        if kind not in KINDS or position_ids.shape[-1] != total:
            result: tuple[Tensor, Tensor] = stock(x, position_ids, **more)
            return result
        found: list[Tensor] = []
        for tokens in _classes(lengths, kind, _usual(module, layer_type, kind)):
            index = torch.tensor(tokens, device=position_ids.device)
            forget_length(module)
            parts = stock(x, position_ids[..., index], **more)
            if not found:
                found = [
                    part.new_empty((*part.shape[:-2], total, part.shape[-1])) for part in parts
                ]
            for whole, part in zip(found, parts, strict=True):
                whole[..., index, :] = part
        return found[0], found[1]

    return forward


class _WithFrequencies:
    """A rotary module with other frequencies. The module itself does not change."""

    def __init__(self, module: Any, name: str, frequencies: Tensor) -> None:
        self._module = module
        setattr(self, name, frequencies)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _per_row(module: Any, lengths: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
    """Build a forward that computes cosines and sines for each row of a padded batch."""
    stock = type(module).forward.__get__(module)
    bare = inspect.unwrap(type(module).forward)  # without the update that changes the module

    def forward(
        x: Tensor, position_ids: Tensor, layer_type: str | None = None
    ) -> tuple[Tensor, Tensor]:
        more = {} if layer_type is None else {"layer_type": layer_type}
        result: tuple[Tensor, Tensor]
        if _kinds(module).get(layer_type) not in KINDS:
            result = stock(x, position_ids, **more)
            return result
        name = "inv_freq" if layer_type is None else f"{layer_type}_inv_freq"
        frequencies = _frequencies_of_rows(module, layer_type, lengths)
        result = bare(_WithFrequencies(module, name, frequencies), x, position_ids, **more)
        return result

    return forward


def _frequencies_of_rows(module: Any, layer_type: str | None, lengths: Tensor) -> Tensor:
    """Compute frequencies (B, 1, F) of rows of (B,) tokens with transformers' own functions."""
    kind = str(_kinds(module)[layer_type])
    more = {} if layer_type is None else {"layer_type": layer_type}
    compute, device = ROPE_INIT_FUNCTIONS[kind], lengths.device
    rows = lengths[:, None, None]
    if kind == "dynamic":
        stretched: Tensor = compute(module.config, device, seq_len=rows, **more)[0]
        return stretched
    usual = _usual(module, layer_type, kind)
    short, long = (
        compute(module.config, device, seq_len=length, **more)[0] for length in (usual, usual + 1)
    )
    return torch.where(rows > usual, long, short)


def _usual(module: Any, layer_type: str | None, kind: str) -> int:
    """Return the length up to which the frequencies do not change."""
    if kind == "dynamic":
        return int(module.original_max_seq_len)
    settings = module.config.rope_parameters
    settings = settings if layer_type is None else settings[layer_type]
    return int(settings["original_max_position_embeddings"])


def _classes(lengths: Sequence[int], kind: str, usual: int) -> list[list[int]]:
    """Sort the tokens of a row by the frequencies that their text gets.

    All texts up to the usual length share theirs, and so do all longer ones under longrope.
    """
    classes: dict[int, list[int]] = {}
    start = 0
    for length in lengths:
        key = _class_of(length, kind, usual)
        classes.setdefault(key, []).extend(range(start, start + length))
        start += length
    return list(classes.values())


def _class_of(length: int, kind: str, usual: int) -> int:
    """Return a number that texts with the same frequencies share."""
    return 0 if length <= usual else length if kind == "dynamic" else usual + 1
