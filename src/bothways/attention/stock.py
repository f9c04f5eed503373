"""The model as a plain loader would run it: transformers' own attention, and flags as they are after construction.

It stands apart because it is the independent side of every comparison: the doctor, the choice between packed and padded runs, and
the finding that some saved folders turn causal elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bothways.attention.text_config import is_encoder_only, text_configs

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.15, torch.float16: 0.03}
"""Largest relative distance of two states that count as equal, by dtype: rounding grows with depth, a wrong mask is off by about 1."""


@contextmanager
def stock(model: nn.Module, implementation: str) -> Iterator[None]:
    """Run the model inside with transformers' `implementation` ("eager", "sdpa"); everything comes back afterwards.

    Raises:
        ValueError: the family does not have this implementation.
    """
    config = next(text_configs(model))
    flags = [(m, m.is_causal) for m in model.modules() if isinstance(getattr(m, "is_causal", None), bool)]
    before = config._attn_implementation
    set_implementation(model, implementation)
    try:
        if not is_encoder_only(config):
            for module, _ in flags:
                module.is_causal = True  # type: ignore[assignment]
        yield
    finally:
        for module, flag in flags:
            module.is_causal = flag  # type: ignore[assignment]
        set_implementation(model, before)


def needs_eager(model: nn.Module) -> bool:
    """Whether a saved folder of this bidirectional model turns silently causal in a plain `AutoModel.from_pretrained`.

    StableLM and Nemotron do: with SDPA and a text without padding transformers draws no mask and passes a flag down, which their
    layers drop; SDPA then reads the module's own flag. With `attn_implementation="eager"` they are right.
    """
    if not can_set_implementation(model) or next(model.parameters()).is_meta:
        return False
    config = next(text_configs(model))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, config.vocab_size, (1, 7), generator=generator).to(next(model.parameters()).device)
    found = []
    with quiet(model):
        for implementation in ("eager", "sdpa"):
            try:
                with stock(model, implementation):
                    found.append(model(input_ids=ids, use_cache=False).last_hidden_state[0])
            except Exception:  # an implementation that fails loudly cannot mislead anybody; loaders fall back or stop
                return False
    eager, sdpa = found
    return not distance(sdpa, eager) <= TOLERANCE[eager.dtype]


def distance(a: Tensor, b: Tensor) -> float:
    """Largest relative distance of two rows of states (T, H): max over tokens of ‖a - b‖ / ‖b‖; infinite for NaN."""
    a, b = a.double().cpu(), b.double().cpu()
    off = float(((a - b).norm(dim=-1) / b.norm(dim=-1).clamp_min(1e-12)).max())
    return off if off == off else float("inf")


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients inside; the mode of every module comes back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def can_set_implementation(model: nn.Module) -> bool:
    """Whether the family routes its attention through transformers' attention interface."""
    return bool(_owner(model)._can_set_attn_implementation())


def set_implementation(model: nn.Module, implementation: str) -> None:
    """Choose the attention implementation, where the family has a choice."""
    if can_set_implementation(model):
        _owner(model).set_attn_implementation(implementation)


def _owner(model: nn.Module) -> Any:
    return next(module for module in model.modules() if hasattr(module, "set_attn_implementation"))
