"""Prepares a bare backbone: switches its direction, and measures how it can run.

To measure takes four passes over a few tokens, each of which reads all weights. For a fresh process
that is a good part of the time to its first vector. So the answer is kept for a model of the same
code, configuration, shapes and sampled weights, see `encoder.measured`.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bothways.attention.all_modules import all_modules
from bothways.attention.direction import set_direction
from bothways.attention.interface import NAME
from bothways.attention.probe import measure_execution
from bothways.attention.run import Execution
from bothways.attention.stock import set_implementation
from bothways.backbone.family.families import check_supported
from bothways.config import Direction
from bothways.encoder import measured
from bothways.foreign import foreign

if TYPE_CHECKING:
    from types import CodeType

_SAMPLE = 4  # numbers of each weight


def prepare(
    model: nn.Module, direction: Direction, windows: str = "lift"
) -> tuple[Execution, dict[str, Any]]:
    """Switch a bare backbone to `direction`, and choose how it runs.

    Returns that choice and a report for provenance.

    Raises:
        UnsupportedFamily: a bidirectional encoder is asked for, and the family has layers that no
            mask can turn.
    """
    config: Any = model.config
    check_supported(config, direction)
    name = getattr(model, "name_or_path", "") or type(model).__name__
    with foreign(name, "cannot be run", "its config.json holds values that do not go together"):
        entry = _entry(model, direction, windows)
        known = None if entry is None else entry.read()
        eager = None if known is None else bool(known["needs_eager"])
        report = set_direction(model, direction, windows=windows, eager=eager)
        model.eval()
        if known is not None:
            execution: Execution = "packed" if known["execution"] == "packed" else "padded"
            set_implementation(model, NAME if execution == "packed" else "eager")
        else:
            execution = measure_execution(model)
            if entry is not None:
                entry.write({"execution": execution, "needs_eager": report.needs_eager})
        return execution, report.as_dict()


def _entry(model: nn.Module, direction: Direction, windows: str) -> measured.KeptMeasurement | None:
    """Return the place of what was measured, or None if something was put into the model's code."""
    if not measured.in_use():
        return None
    modules = list(all_modules(model))
    weights = dict(model.named_parameters())
    if any(
        "forward" in vars(each) or each._forward_hooks or each._forward_pre_hooks
        for each in modules
    ) or any(each.is_meta for each in weights.values()):
        return None
    config: Any = model.config
    kinds = {f"{type(each).__module__}.{type(each).__qualname__}": type(each) for each in modules}
    flags = [getattr(each, "is_causal", None) for each in modules]
    return measured.KeptMeasurement(
        "run",
        {
            "switch": [direction, windows],
            "config": measured.config_facts(config),
            "code": {name: _code(kind) for name, kind in kinds.items()},
            "modules": [type(each).__qualname__ for each in modules],
            "causal": [flag if isinstance(flag, bool) else None for flag in flags],
            "weights": [
                [name, str(each.dtype), list(each.shape), each.device.type]
                for name, each in weights.items()
            ],
            "sample": _sampled(list(weights.values())),
        },
    )


def _code(kind: type[nn.Module]) -> list[str]:
    """Return digests of what a module's class computes with.

    They are of its forward function, of the functions of its file as they are now (a program may
    have replaced one, such as the function that makes the mask), and of the file.
    """
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    functions = (
        {name: value for name, value in vars(module).items() if isinstance(value, FunctionType)}
        if module
        else {}
    )
    parts = [
        _function(kind.forward),
        b"".join(name.encode() + _function(each) for name, each in sorted(functions.items())),
        Path(file).read_bytes() if file and Path(file).is_file() else b"",
    ]
    return [hashlib.sha256(each).hexdigest() for each in parts]


def _function(function: object) -> bytes:
    """Return the code of a function, and of each function that it wraps."""
    found = b""
    while function is not None:
        code: CodeType | None = getattr(function, "__code__", None)
        if code is not None:
            found += f"{code.co_filename} {code.co_names}".encode() + code.co_code
        function = getattr(function, "__wrapped__", None)
    return found


def _sampled(weights: list[Tensor]) -> str:
    """Return the digest of some numbers of each weight, evenly spaced."""
    digest = hashlib.sha256()
    by_device: dict[torch.device, list[Tensor]] = {}
    for weight in weights:
        flat = weight.detach().reshape(-1)
        few = flat[:: max(1, (len(flat) - 1) // (_SAMPLE - 1))][:_SAMPLE]
        # as bytes, because not every type can be joined
        by_device.setdefault(weight.device, []).append(few.contiguous().view(torch.uint8))
    for parts in by_device.values():
        digest.update(torch.cat(parts).cpu().numpy().tobytes())
    return digest.hexdigest()
