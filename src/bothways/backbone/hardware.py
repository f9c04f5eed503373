"""Finds the device and the floating-point type that this machine really computes with.

bfloat16 halves memory and doubles the matrix throughput only if the hardware has instructions for
it. Otherwise libraries emulate it, which is slower than float32 and loses digits without a gain. So
"auto" asks the hardware, never a library's "supported".
"""

from __future__ import annotations

import platform
from typing import Any

import torch

from bothways.errors import InputError
from bothways.foreign import foreign
from bothways.nearest import meant

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def auto_device() -> torch.device:
    """Return the fastest available device: CUDA (or ROCm), else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def auto_dtype(device: str | torch.device) -> torch.dtype:
    """Return bfloat16 if the device has bfloat16 matrix instructions, else float32.

    - CPU: x86 with AVX512_BF16 or AMX-BF16, ARM with the BF16 extension. AVX2 and plain AVX-512
      only emulate it.
    - CUDA: compute capability 8.0 (Ampere) or later. ROCm always. Older cards emulate it.
    - MPS: float32. The first Apple generation cannot compute in bfloat16, and the generations
      cannot be distinguished.
    - Any other device type: float32.
    """
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_available():
        native = torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if native else torch.float32
    if device.type == "cpu" and cpu_computes_bfloat16():
        return torch.bfloat16
    return torch.float32


def cpu_computes_bfloat16() -> bool:
    """Tell if this CPU multiplies bfloat16 matrices in hardware."""
    namespace: Any = torch.cpu
    if hasattr(namespace, "get_capabilities"):
        found = namespace.get_capabilities()
        names = (
            ("bf16", "sve_bf16")
            if found.get("architecture") in ("aarch64", "arm64")
            else ("avx512_bf16", "amx_bf16")
        )
        return any(found.get(name, False) for name in names)
    if platform.machine().lower() in ("aarch64", "arm64"):
        # Before get_capabilities, oneDNN's own check was the only way to ask. On ARM it reads the
        # BF16 hardware flag.
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    checks = (
        getattr(namespace, name, None)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check() for check in checks if check is not None)


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device of a name, for example "cuda:0". "auto" is `auto_device()`.

    Raises:
        InputError: if it is not a device name, or if this machine does not have the device or
            cannot compute with it.
    """
    if device == "auto":
        return auto_device()
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise InputError(
            f"device {str(device)!r} is not a device: give auto, cpu, cuda, cuda:0 or mps"
        ) from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(
            f"device {str(device)!r} is not there: torch sees {count} CUDA devices; use cpu or auto"
        )
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device 'mps' is not there: torch sees no Apple GPU; use cpu or auto")
    if found.type not in ("cpu", "cuda", "mps"):
        _check_computes(found)
    return found


def _check_computes(device: torch.device) -> None:
    """Raise InputError if torch names a device type but this machine cannot compute with it.

    Such types are xla, xpu, hpu, meta and others.
    """
    with foreign(f"device {str(device)!r}", "is not there", "use cpu or auto"):
        # A meta tensor does not hold numbers, so copying them back raises.
        (torch.ones(2, device=device) + 1).cpu()


def resolve_dtype(dtype: str | torch.dtype, device: str | torch.device) -> torch.dtype:
    """Return the floating-point type of a name. "auto" is `auto_dtype(device)`.

    Raises:
        InputError: if it is not auto, float32, bfloat16, float16 or one of these torch dtypes.
    """
    if dtype == "auto":
        return auto_dtype(device)
    found = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found not in _DTYPES.values():
        raise InputError(
            f"dtype {str(dtype)!r} cannot be used: {meant(dtype, ['auto', *_DTYPES])}give {', '.join(['auto', *_DTYPES])}"
        )
    assert found is not None
    return found
