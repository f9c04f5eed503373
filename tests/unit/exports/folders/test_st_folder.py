"""What a folder for sentence-transformers cannot have is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from export_models import small_model

PROMPTS = {"query": "Find:\n", "document": "Text\n"}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return small_model(tmp_path_factory.mktemp("llama") / "base", "llama")


@pytest.fixture(scope="module")
def encoder(base: Path) -> Encoder:
    return bw.convert(base, dtype="float32", prompts=PROMPTS, max_length=None, normalize=True)


@pytest.mark.parametrize("target", ["sentence-transformers"])
def test_what_no_folder_holds(encoder: Encoder, base: Path, tmp_path: Path, target: str) -> None:
    causal = bw.convert(base, direction="causal", dtype="float32")
    for given, options, said in (
        (causal, {}, "the encoder is causal"),
        (encoder, {"dtype": "q8_0"}, "are written as f32 or f16, not as 'q8_0'"),
    ):
        with pytest.raises(InputError, match=said):
            bw.export(given, tmp_path / "out", to=target, **options)
        assert list(tmp_path.iterdir()) == []
