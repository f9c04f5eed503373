from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import bothways as bw
from tiny import tiny_llama
from unit.bulk.material import CPU, source


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A saved encoder with a stored prompt."""
    folder = tmp_path_factory.mktemp("bulk")
    encoder = bw.convert(tiny_llama(folder / "base"), dtype="float32", device="cpu")
    encoder.options.prompts["query"] = "Find: "
    encoder.save(folder / "encoder")
    return folder / "encoder"


@pytest.fixture(scope="session")
def done(model: Path, tmp_path_factory) -> Path:
    """A complete folder `out`, and its source."""
    folder = tmp_path_factory.mktemp("done")
    bw.bulk_encode(model, source(folder), folder / "out", **CPU)
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """A copy of the complete folder, to be damaged."""
    return Path(shutil.copytree(done / "out", tmp_path / "out"))
