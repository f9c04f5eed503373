"""What a speed depends on besides the code: the processor, its load, and the memory."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

_CPU = Path("/proc/cpuinfo")
_MEMORY = Path("/proc/meminfo")
_MATRIX = (
    "avx2",
    "avx512_f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx",
    "sve",
    "bf16",
    "i8mm",
)
"""Beginnings of the names of instructions that matrix products use."""


def machine() -> dict[str, Any]:
    """Return the processor's name, cores and matrix instructions, the memory and the system."""
    return {
        "cpu": _field(_CPU, "model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "instructions": _instructions(),
        "memory_gib": round(_kilobytes(_field(_MEMORY, "MemTotal")) / 2**20, 1) or None,
        "system": f"{platform.system()} {platform.machine()}",
    }


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy_processes() -> float | None:
    """Return the mean number of busy processes of the last minute, or None if unknown."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _instructions() -> list[str]:
    """Return the names of the vector and matrix instructions, as far as torch knows them."""
    namespace: Any = torch.cpu
    if not hasattr(namespace, "get_capabilities"):
        return [torch.backends.cpu.get_cpu_capability()]
    found = namespace.get_capabilities()
    return sorted(
        name for name, value in found.items() if value is True and name.startswith(_MATRIX)
    )


def _field(file: Path, name: str) -> str:
    if not file.exists():
        return ""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _kilobytes(text: str) -> int:
    return int(text.split()[0]) if text.split() else 0
