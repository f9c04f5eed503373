"""Runs the model as a plain loader would: transformers' own attention, flags as after construction.

It is the independent side of every comparison: of the doctor, of the choice between packed and
padded runs, and of the test if a saved folder turns causal in other loaders.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from bothways.attention.all_modules import all_modules
from bothways.attention.text_config import is_encoder_only, text_configs

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

INFLUENCE = 1e-5
"""The smallest relative change of a state that counts as influence.

Rounding of a regrouped product (mixtures of experts) stays near 1e-7 in float32. A visible token
moves a state by 1e-3 or more. In half precision the smallest step of one element is above it.
"""


@contextmanager
def stock(model: nn.Module, implementation: str) -> Iterator[None]:
    """Run the model inside the block with transformers' `implementation`, for example "sdpa".

    Everything is restored afterwards.

    Raises:
        ValueError: if the family does not have this implementation.
    """
    config = next(text_configs(model))
    flags = [
        (m, m.is_causal) for m in model.modules() if isinstance(getattr(m, "is_causal", None), bool)
    ]
    before = config._attn_implementation
    set_implementation(model, implementation)
    try:
        if not is_encoder_only(config):
            for module, _ in flags:
                module.is_causal = True  # type: ignore[assignment]
        yield
    finally:
        for module, flag in flags:
            module.is_causal = flag
        set_implementation(model, before)


def needs_eager(model: nn.Module) -> bool:
    """Tell if a saved folder of this bidirectional model silently turns causal in a plain loader.

    StableLM and Nemotron do in `AutoModel.from_pretrained`. With SDPA and a text without padding,
    transformers does not draw a mask and passes a flag down, which their layers drop. SDPA then
    reads the module's own flag. With `attn_implementation="eager"` they are right.
    """
    if not can_set_implementation(model) or next(model.parameters()).is_meta:
        return False
    config = next(text_configs(model))
    ids = torch.randint(5, config.vocab_size, (1, 7), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[0, -1] = 5 + (ids[0, -1] - 4) % (config.vocab_size - 5)
    with evaluation_mode(model):
        try:
            with stock(model, "sdpa"):
                both = torch.cat([ids, other]).to(_device(model))  # one pass of equal lengths
                states = model(input_ids=both, use_cache=False).last_hidden_state
        except Exception:
            # An implementation that fails loudly misleads nobody. Loaders choose eager, or stop.
            return False
    return distance(states[1][:1], states[0][:1]) <= INFLUENCE


def caps_scores(config: PretrainedConfig) -> bool:
    """Tell if a family caps its attention scores (Gemma 2, and Gemma 3 if its config says so).

    transformers 5.20 runs such a model with SDPA if nothing else is said, which leaves the cap out
    without a word. transformers 5.23 takes eager attention by itself.
    """
    return getattr(config, "attn_logit_softcapping", None) is not None


def distance(a: Tensor, b: Tensor) -> float:
    """Compute the largest relative distance of two rows of states (T, H).

    It is the maximum over tokens of ‖a - b‖ / ‖b‖, and infinite for NaN.
    """
    a, b = a.double().cpu(), b.double().cpu()
    off = float(((a - b).norm(dim=-1) / b.norm(dim=-1).clamp_min(1e-12)).max())
    return off if off == off else float("inf")


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Use evaluation mode without gradients inside the block, and restore all modes afterwards.

    A model that is in evaluation mode already is only looked through, because `Module.eval` takes
    thirty calls a layer, and encoding one query comes through here.
    """
    training = [module for module in all_modules(model) if module.training]
    if training:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def can_set_implementation(model: nn.Module) -> bool:
    """Tell if the family routes its attention through transformers' attention interface."""
    return bool(_owner(model)._can_set_attn_implementation())


def set_implementation(model: nn.Module, implementation: str) -> None:
    """Choose the attention implementation, if the family has a choice."""
    if can_set_implementation(model):
        _owner(model).set_attn_implementation(implementation)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _owner(model: nn.Module) -> PreTrainedModel:
    owner = next(module for module in model.modules() if hasattr(module, "set_attn_implementation"))
    return cast("PreTrainedModel", owner)
