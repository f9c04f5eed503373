"""Which device and which floating-point type this machine really computes with.

bfloat16 halves memory and doubles the matrix throughput only where the hardware has instructions for it; elsewhere
libraries emulate it, which is slower than float32 and loses digits for nothing. So "auto" asks the hardware, never a
library's "supported".
"""

from __future__ import annotations

import platform
from typing import Any

import torch

from bothways.errors import InputError
from bothways.foreign import foreign

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def auto_device() -> torch.device:
    """The fastest device at hand: CUDA (or ROCm), else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def auto_dtype(device: str | torch.device) -> torch.dtype:
    """bfloat16 where the device has bfloat16 matrix instructions, else float32.

    * CPU: x86 with AVX512_BF16 or AMX-BF16, ARM with the BF16 extension. AVX2 and plain AVX-512 only emulate it.
    * CUDA: compute capability 8.0 (Ampere) or later; ROCm always. Older cards emulate it.
    * MPS: float32. The first Apple generation has no bfloat16 arithmetic and nothing tells the generations apart.
    * Any other device type: float32.
    """
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_available():
        native = torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if native else torch.float32
    if device.type == "cpu" and cpu_computes_bfloat16():
        return torch.bfloat16
    return torch.float32


def cpu_computes_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware."""
    namespace: Any = torch.cpu
    if hasattr(namespace, "get_capabilities"):
        found = namespace.get_capabilities()
        names = ("bf16", "sve_bf16") if found.get("architecture") in ("aarch64", "arm64") else ("avx512_bf16", "amx_bf16")
        return any(found.get(name, False) for name in names)
    if platform.machine().lower() in ("aarch64", "arm64"):
        # before get_capabilities, oneDNN's own check was the one way to ask; on ARM it reads the BF16 hardware flag
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    checks = (getattr(namespace, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check is not None)


def resolve_device(device: str | torch.device) -> torch.device:
    """A device from its name; "auto" is `auto_device()`.

    Raises:
        InputError: not a device name, or a device that this machine does not have or cannot compute with.
    """
    if device == "auto":
        return auto_device()
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"device {str(device)!r} is not one: give auto, cpu, cuda, cuda:0 or mps") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"device {str(device)!r} is not there: torch sees {count} CUDA devices; use cpu or auto")
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device 'mps' is not there: torch sees no Apple GPU; use cpu or auto")
    if found.type not in ("cpu", "cuda", "mps"):
        _check_computes(found)
    return found


def _check_computes(device: torch.device) -> None:
    """Raise InputError for a device type that torch names (xla, xpu, hpu, meta, …) and this machine cannot compute with."""
    with foreign(f"device {str(device)!r}", "is not there", "use cpu or auto"):
        # a meta tensor has no numbers, so that copying them back raises
        (torch.ones(2, device=device) + 1).cpu()


def resolve_dtype(dtype: str | torch.dtype, device: str | torch.device) -> torch.dtype:
    """A floating-point type from its name; "auto" is `auto_dtype(device)`.

    Raises:
        InputError: neither auto, float32, bfloat16, float16 nor one of these torch types.
    """
    if dtype == "auto":
        return auto_dtype(device)
    found = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found not in _DTYPES.values():
        raise InputError(f"dtype {str(dtype)!r} cannot be used: give {', '.join(['auto', *_DTYPES])}")
    assert found is not None
    return found
