"""Merges LoRA adapters of one base into one adapter, as peft's `add_weighted_adapter` defines it.

    cat      W + Σ w_i s_i B_i A_i. The factors are put next to each other, so the ranks add up
             and the result is that of merged weights
    linear   A = Σ √(w_i s_i) A_i, B = Σ √(w_i s_i) B_i, of the same rank. This is not the sum of
             the products, and peft calls it a very rough approximation

Here w_i is the share of an adapter and s_i its scale, alpha / r, or alpha / √r with rsLoRA. The
merged factors contain both, so their own scale is 1. peft 0.21 keeps `use_rslora`, with which its
result is √r times as large.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from peft.utils.other import get_pattern_key
from safetensors.torch import save_file
from torch import Tensor

from bothways.atomic import atomic_folder
from bothways.backbone.adapter.adapter_files import FACTORS, NEEDS, read_needs
from bothways.errors import InputError
from bothways.folder_files import ADAPTER
from bothways.foreign import read_object, read_tensors

Combination = Literal["cat", "linear"]

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
#: Fields of an adapter's configuration that may differ: the scale and rank, which are read for each
#: adapter, and what only training or the files' origin depends on.
_OWN = {
    "r",
    "lora_alpha",
    "alpha_pattern",
    "rank_pattern",
    "use_rslora",
    "lora_dropout",
    "init_lora_weights",
    "inference_mode",
    "base_model_name_or_path",
    "revision",
    "peft_version",
    "auto_mapping",
    "target_modules",  # the names of the factors are compared
    "exclude_modules",
}
#: Initializations that leave the base as it is.
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")


class _Adapter(NamedTuple):
    folder: Path
    config: Mapping[str, Any]
    factors: Mapping[str, Tensor]

    def scale(self, module: str) -> float:
        """Return alpha / r of a module, or alpha / √r."""
        patterns: dict[str, float] = self.config.get("alpha_pattern") or {}
        name = module.removeprefix(_PREFIX)
        alpha: float = patterns.get(
            get_pattern_key(list(patterns), name), self.config["lora_alpha"]
        )
        rank = self.factors[module + _A].shape[0]
        return float(alpha) / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def write_merged(
    folders: Sequence[Path],
    weights: Sequence[float],
    out: Path,
    combination: Combination,
    *,
    base_adapter: str | None = None,
) -> float:
    """Write the merged adapter of some adapters, in peft's format.

    Args:
        folders: of adapters of one base.
        weights: the share of each.
        out: folder to write.
        combination: "cat" or "linear".
        base_adapter: an adapter that belongs below all of them.

    Returns:
        The rounding of the written factors: the largest step next to 1 of their types.

    Raises:
        InputError: if an adapter is more than LoRA's two factors, or if two adapters do not fit.
    """
    read = [_read(folder) for folder in folders]
    for other in read[1:]:
        _check_pair(read[0], other, combination)
    modules = sorted(name.removesuffix(_A) for name in read[0].factors if name.endswith(_A))
    used = [(adapter, weight) for adapter, weight in zip(read, weights) if weight]
    made: dict[str, Tensor] = {}
    for module in modules:
        rule = _concatenated if combination == "cat" else _summed
        made[module + _A], made[module + _B] = rule(used, module)
    rank = max(tensor.shape[0] for name, tensor in made.items() if name.endswith(_A))
    made = {name: _widened(name, tensor, rank) for name, tensor in made.items()}
    config = {
        **read[0].config,
        "r": rank,
        "lora_alpha": rank,
        "alpha_pattern": {},
        "rank_pattern": {},
        "use_rslora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    rope = read_needs(folders[0]).rope
    needs = {
        "rope": None if rope is None else rope.model_dump(mode="json"),
        "base_adapter": base_adapter,
        "whole": 0,
    }
    with atomic_folder(out) as part:
        save_file(made, part / FACTORS[0], metadata={"format": "pt"})
        for name, values in ((ADAPTER, config), (NEEDS, needs)):
            text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
            (part / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return max(torch.finfo(tensor.dtype).eps for tensor in made.values())


def read_adapter_values(folder: Path) -> dict[str, Any]:
    """Read adapter_config.json.

    Raises:
        InputError: if the folder holds no adapter.
    """
    _factors(folder)
    return read_object(folder / ADAPTER)


def _factors(folder: Path) -> Path:
    file = next((folder / name for name in FACTORS if (folder / name).is_file()), None)
    if not (folder / ADAPTER).is_file() or file is None:
        raise InputError(
            f"merge: {folder} holds no adapter ({ADAPTER} and {FACTORS[0]}), and an adapter is to be made of adapters alone; "
            "leave out the adapter option to merge whole encoders"
        )
    return file


def _read(folder: Path) -> _Adapter:
    config, factors = read_adapter_values(folder), read_tensors(_factors(folder))
    odd = next((name for name in factors if not name.endswith((_A, _B))), None)
    if read_needs(folder).whole:
        odd = "parameters that were trained in full"
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        odd = f"a base that init_lora_weights {start!r} has changed"
    if odd is not None:
        raise InputError(
            f"merge: {folder} has {odd} besides LoRA's two factors, for which no merged adapter exists; leave out the adapter "
            "option to merge whole encoders"
        )
    return _Adapter(folder, config, factors)


def _check_pair(one: _Adapter, other: _Adapter, combination: Combination) -> None:
    """Raise InputError with the first thing in which two adapters differ, besides numbers."""
    remedy = "leave out the adapter option to merge whole encoders"
    for name in sorted(one.factors.keys() ^ other.factors.keys()):
        raise InputError(f"merge: of {one.folder} and {other.folder} only one has {name}; {remedy}")
    for name, tensor in one.factors.items():
        place = 1 if name.endswith(_A) else 0  # the rank may differ in "cat"
        first, second = tensor.shape, other.factors[name].shape
        if first[place] != second[place] or (combination == "linear" and first != second):
            raise InputError(
                f"merge: {name} has the shapes {tuple(first)} in {one.folder} and {tuple(second)} in {other.folder}"
                + ("; cat takes adapters of several ranks" if first[place] == second[place] else "")
            )
    for key in sorted((one.config.keys() | other.config.keys()) - _OWN):
        if (one.config.get(key) or None) != (other.config.get(key) or None):
            raise InputError(
                f"merge: {one.folder} and {other.folder} differ in {key} of {ADAPTER} ({one.config.get(key)!r:.40} and "
                f"{other.config.get(key)!r:.40}); {remedy}"
            )


def _concatenated(used: Sequence[tuple[_Adapter, float]], module: str) -> tuple[Tensor, Tensor]:
    """Return A (Σ r, in) with shares and scales in it, and B (out, Σ r)."""
    parts = [
        (
            weight * each.scale(module) * each.factors[module + _A].double(),
            each.factors[module + _B],
        )
        for each, weight in used
    ]
    kind = _kind(used, module)
    return (
        torch.cat([first for first, _ in parts], dim=0).to(kind).contiguous(),
        torch.cat([second.double() for _, second in parts], dim=1).to(kind).contiguous(),
    )


def _summed(used: Sequence[tuple[_Adapter, float]], module: str) -> tuple[Tensor, Tensor]:
    """Return A (r, in) and B (out, r), each a sum with the roots of shares and scales."""
    roots = [math.sqrt(weight * each.scale(module)) for each, weight in used]
    first, second = (
        sum(root * each.factors[module + end].double() for root, (each, _) in zip(roots, used))
        for end in (_A, _B)
    )
    assert isinstance(first, Tensor) and isinstance(second, Tensor)
    kind = _kind(used, module)
    return first.to(kind), second.to(kind)


def _kind(used: Sequence[tuple[_Adapter, float]], module: str) -> torch.dtype:
    """Return the type of the inputs, or float32 if they differ."""
    kinds = {each.factors[module + end].dtype for each, _ in used for end in (_A, _B)}
    return kinds.pop() if len(kinds) == 1 else torch.float32


def _widened(name: str, tensor: Tensor, rank: int) -> Tensor:
    """Give a factor zeros up to the rank of the widest module, so that one rank fits all."""
    axis = 0 if name.endswith(_A) else 1
    missing = rank - tensor.shape[axis]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[axis] = missing
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=axis).contiguous()
