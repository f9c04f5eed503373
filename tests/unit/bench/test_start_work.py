"""Guards of start-up that count work and not seconds: modules that are imported, and bytes that are copied.

`test_work.py` has the guards of encoding and training, `test_prepare_backbone.py` the passes before the first text. A figure here
may only become smaller.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import bothways as bw
from tiny import tiny_llama

HELP_MODULES = 400
"""Modules after `bothways --help`, those of Python included."""

LOAD_MODULES = 260
"""Modules that `bothways.load` adds to `transformers.modeling_utils`, most of them our own."""

MAPS = Path("/proc/self/maps")


def output(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_modules_of_help() -> None:
    code = (
        "import sys; sys.argv = ['bothways', '--help']\n"
        "from bothways.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(len(sys.modules))"
    )
    assert int(output(code)) <= HELP_MODULES


def test_modules_of_loading() -> None:
    code = (
        "import sys, torch, transformers.modeling_utils, transformers.generation.utils; before = len(sys.modules)\n"
        "import bothways; bothways.load\n"
        "print(len(sys.modules) - before)"
    )
    assert int(output(code)) <= LOAD_MODULES


def copied(encoder: bw.Encoder, file: Path) -> int:
    """Bytes of weights that are not read in place from a mapped file."""
    ranges = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in MAPS.read_text().splitlines()
        if line.endswith(str(file.resolve()))
    ]
    return sum(
        each.numel() * each.element_size()
        for each in encoder.parameters()
        if not any(first <= each.data_ptr() < last for first, last in ranges)
    )


@pytest.mark.skipif(not MAPS.exists(), reason="the system does not list mapped files")
def test_weights_are_not_copied(tmp_path: Path) -> None:
    """A second copy would take as long as reading the file, and as much memory."""
    bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu").save(tmp_path / "encoder")
    file = tmp_path / "encoder" / "model.safetensors"
    encoder = bw.load(tmp_path / "encoder", graph=None, dtype="float32", device="cpu")
    encoder.encode("a query")
    assert copied(encoder, file) == 0
    other = bw.load(tmp_path / "encoder", graph=None, dtype="bfloat16", device="cpu")
    assert copied(other, file) == sum(2 * each.numel() for each in other.parameters()), "another type is a copy"
    with torch.no_grad():
        first = next(encoder.parameters())
        first.data = first.data.clone()
    assert copied(encoder, file) == 4 * first.numel(), "a copy is noticed"
