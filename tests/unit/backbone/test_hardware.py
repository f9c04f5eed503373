"""bfloat16 is chosen only where the hardware multiplies it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bothways.backbone import hardware
from bothways.errors import InputError


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({"architecture": "x86_64", "avx2": True, "bf16": True}, torch.float32),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, torch.bfloat16),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_cpu_rule(capabilities: dict[str, Any], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert hardware.auto_dtype("cpu") is expected


@pytest.mark.parametrize(("major", "expected"), [(7, torch.float32), (8, torch.bfloat16), (9, torch.bfloat16)])
def test_cuda_rule(major: int, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
    assert hardware.auto_dtype("cuda") is expected


def test_mps_computes_in_float32() -> None:
    assert hardware.auto_dtype("mps") is torch.float32


def test_older_torch_is_asked_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(hardware.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    for answer in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=answer: answer, raising=False)
        assert hardware.cpu_computes_bfloat16() is answer


def test_names_of_types() -> None:
    assert hardware.resolve_dtype("bfloat16", "cpu") is torch.bfloat16
    assert hardware.resolve_dtype(torch.float16, "cpu") is torch.float16
    assert hardware.resolve_dtype("auto", "mps") is torch.float32
    with pytest.raises(InputError, match=r"float31.*auto, float32, bfloat16, float16"):
        hardware.resolve_dtype("float31", "cpu")
    with pytest.raises(InputError, match="int64"):
        hardware.resolve_dtype(torch.int64, "cpu")


def test_names_of_devices() -> None:
    assert hardware.resolve_device("cpu") == torch.device("cpu")
    assert hardware.resolve_device("auto") == hardware.auto_device()
    with pytest.raises(InputError, match="'gpu' is not a device"):
        hardware.resolve_device("gpu")
    with pytest.raises(InputError, match="not there"):
        hardware.resolve_device("cuda:99")
