"""Several saved LoRA adapters in one decoder, unmerged, of which one acts at a time.

peft keeps the factors of every adapter, by name, in the layers that they change. A pass with an
adapter computes base and factors, so it takes longer than one with merged weights, and gives the
same states up to rounding. Adapters that change more than linear layers are refused, because the
others would then run on a changed base.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from bothways.backbone.adapter.adapter_config import read_adapter_config
from bothways.backbone.adapter.adapter_files import FACTORS, read_needs
from bothways.backbone.adapter.embedding_file import FILES
from bothways.backbone.adapter.exact_targets import exact_targets, fits_by_name
from bothways.backbone.adapter.lora import forget_peft, lora_layers
from bothways.backbone.adapter.merging import _START as START
from bothways.backbone.adapter.merging import _without_infixes as plain_names
from bothways.backbone.adapter.roots import REMEDY, find_root, follow_names
from bothways.errors import InputError
from bothways.foreign import foreign, read_tensors


def attach_saved(model: nn.Module, places: Sequence[Path]) -> list[str]:
    """Put saved adapters into a decoder, and return the name of each in it.

    For example, `attach_saved(model, [Path("a"), Path("b")])` returns ["adapter0", "adapter1"].
    `activate` chooses the one that acts.

    Args:
        model: a bare decoder without an adapter. It is changed in place.
        places: folders of adapters that were trained over it.

    Raises:
        InputError: an adapter is not plain LoRA, is damaged, or does not fit the model.
    """
    from peft import get_peft_model, set_peft_model_state_dict

    names = [f"adapter{number}" for number in range(len(places))]
    root: Any = None
    wrapped: Any = None
    try:
        for name, place in zip(names, places):
            config: Any = _plain_lora(place)
            file = next(place / each for each in FACTORS if (place / each).is_file())
            tensors = plain_names(read_tensors(file))
            if root is None:
                root = find_root(model, tensors, place)
            follow_names(config, root)
            with (
                foreign(place, f"the adapter does not fit {type(model).__name__}", REMEDY),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                exact = fits_by_name(root.module, tensors)
                with exact_targets(root.module, config) if exact else nullcontext():
                    if wrapped is None:
                        wrapped = get_peft_model(root.module, config, adapter_name=name)
                    else:
                        wrapped.add_adapter(name, config)
                weights = {START + key: value for key, value in tensors.items()}
                found: Any = set_peft_model_state_dict(wrapped, weights, adapter_name=name)
                if found.unexpected_keys:
                    raise ValueError(f"{found.unexpected_keys[0]} finds no place in it")
    finally:
        for module in (model,) if root is None else (root.module, model):
            forget_peft(module)
    model.requires_grad_(False)
    return names


def activate(model: nn.Module, name: str) -> None:
    """Let one of the adapters of `attach_saved` act, and no other."""
    for _, layer in lora_layers(model):
        if layer.active_adapters != [name]:
            layer.set_adapter(name, inference_mode=True)


def _plain_lora(place: Path) -> Any:
    """Read the configuration of an adapter that changes nothing but linear layers.

    Raises:
        InputError: it changes more.
    """
    config: Any = read_adapter_config(place)
    needs = read_needs(place)
    more = {
        f"is {config.peft_type.value}": config.peft_type.value != "LORA",
        "was trained over another adapter": needs.base_adapter is not None,
        "changes the positions of the base": needs.rope is not None,
        "holds weights that were trained in full": bool(needs.whole or config.modules_to_save),
        "holds an embedding": any((place / file).is_file() for file in FILES),
        "trains biases": config.bias != "none",
    }
    wrong = next((reason for reason, holds in more.items() if holds), None)
    if wrong is not None:
        raise InputError(
            f"{place}: {wrong}, so it cannot share its base with others; load it by itself, which merges it"
        )
    if not any((place / each).is_file() for each in FACTORS):
        raise InputError(f"{place}: holds no {' and no '.join(FACTORS)}; copy the weights there")
    return config
