from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from tiny import tiny_llama


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A saved encoder with a stored prompt."""
    folder = tmp_path_factory.mktemp("bulk")
    encoder = bw.convert(tiny_llama(folder / "base"), dtype="float32", device="cpu")
    encoder.options.prompts["query"] = "Find: "
    encoder.save(folder / "encoder")
    return folder / "encoder"
