"""Follows or refuses initializations of LoRA that also change the base.

PiSSA, OLoRA, LoftQ, LoRA-GA and CorDA take something out of the base's weights before training.
The saved factors are right only over the changed base. peft repeats the change when it loads the
adapter, and that gives the same base for `pissa` and `olora`. For the others it may not:

- `pissa_niter_16` decomposes with random numbers. Every load gives slightly different weights. If
  the decomposition had converged, the exact one gives the same base, and that is measured here.
- `lora_ga` and `corda` need gradients or covariances that are not saved.
- `loftq` rounds the base to 4 or 8 bits. peft repeats that with bitsandbytes on a GPU alone (peft
  0.20 and later; earlier versions had code of their own, with other numbers).

peft converts such adapters, except LoftQ's, into plain ones with
`save_pretrained(…, path_initial_model_for_weight_conversion=…)`.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bothways.errors import InputError

if TYPE_CHECKING:
    from peft import LoraConfig

_LOST = {
    "lora_ga": "gradients of its first texts",
    "corda": "covariances of its sample texts",
}
_REMEDY = (
    "convert the adapter with peft's save_pretrained(…, path_initial_model_for_weight_conversion=…)"
)
_CONVERGED = 1e-4  # of the norm of a base weight


def refuse_lost_base(config: object, file: Path) -> None:
    """Raise InputError if the base that an adapter was trained over cannot be computed again."""
    kind = getattr(config, "init_lora_weights", None)
    if kind == "loftq" and not (torch.cuda.is_available() and find_spec("bitsandbytes")):
        raise InputError(
            f"{file}: init_lora_weights 'loftq' rounded the base before training, and peft repeats that only with bitsandbytes on a GPU; "
            "merge the adapter there with peft's merge_and_unload, and give the merged model"
        )
    if isinstance(kind, str) and kind in _LOST:
        raise InputError(
            f"{file}: init_lora_weights {kind!r} changed the base before training by {_LOST[kind]}, which are not saved; {_REMEDY}"
        )


def exact_pissa(config: LoraConfig, place: str | os.PathLike[str]) -> int | None:
    """Replace PiSSA's random decomposition by the exact one, in place.

    Args:
        config: peft's configuration.
        place: the adapter, for the message.

    Returns:
        The number of iterations of the random one, or None if the configuration has none.

    Raises:
        InputError: if the number is missing.
    """
    kind = getattr(config, "init_lora_weights", None)
    if not isinstance(kind, str) or not kind.startswith("pissa_niter_"):
        return None
    number = kind.removeprefix("pissa_niter_")
    if not number.isdecimal():
        raise InputError(
            f"{place}: init_lora_weights {kind!r:.60} must end in a number, for example 'pissa_niter_16'"
        )
    config.init_lora_weights = "pissa"
    return int(number)


def check_converged(wrapped: Any, iterations: int, place: str | os.PathLike[str]) -> None:
    """Compare the exact decomposition of every target with a random one of so many iterations.

    Args:
        wrapped: the model with the fresh adapter, right after peft has changed the base.
        iterations: see `exact_pissa`.
        place: the adapter, for the message.

    Raises:
        InputError: if they differ, so that the base of the training is not known.
    """
    for name, module in wrapped.named_modules():
        factors = getattr(module, "lora_A", None)
        if not factors or "default" not in factors:
            continue
        # float32: the exact principal part of the base weight, as peft took it out
        part = module.get_delta_weight("default").float()
        part = part.T if getattr(module, "fan_in_fan_out", False) else part
        rest = module.get_base_layer().weight.detach().float()
        rest = rest.T if getattr(module, "fan_in_fan_out", False) else rest
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            left, values, right = torch.svd_lowrank(
                part + rest, module.r["default"], niter=iterations
            )
        difference = float((left @ torch.diag(values) @ right.T - part).norm())
        if difference > _CONVERGED * float((part + rest).norm()):
            raise InputError(
                f"{place}: init_lora_weights 'pissa_niter_{iterations}' took a random part out of the base before training, which "
                f"differs with every try ({name}); {_REMEDY}"
            )
