"""Every family that is exported to GGUF, run by llama.cpp itself. `make exports` installs it;
elsewhere these are skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.exports.gguf import llama_cpp
from bothways.exports.gguf.gguf_families import FAMILIES
from bothways.exports.reference import TEXTS
from export_models import small_model

pytestmark = pytest.mark.skipif(not llama_cpp.installed(), reason="xllamacpp is not installed; see make exports")


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_a_family_gives_our_vectors(tmp_path: Path, model_type: str) -> None:
    out = bw.export(small_model(tmp_path / "base", model_type), tmp_path / "out", to="gguf")
    results = bw.verify_export(out)
    assert len(results) == 2 * len(TEXTS)  # each alone, and all in one batch
    assert min(each.cosine for each in results) > 0.9999


ROPE = {"rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 256}


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
        {"rope_type": "yarn", **ROPE},
        {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ROPE},
    ],
    ids=["linear", "yarn", "llama3"],
)
def test_stretched_positions_are_kept(tmp_path: Path, rope: dict[str, object]) -> None:
    out = bw.export(small_model(tmp_path / "base", "llama", rope_parameters=rope), tmp_path / "out", to="gguf")
    assert min(each.cosine for each in bw.verify_export(out)) > 0.9999


def test_a_causal_file_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the key for direction llama.cpp says nothing, so only the vectors can tell."""
    import gguf

    monkeypatch.setattr(gguf.GGUFWriter, "add_causal_attention", lambda self, value: None)
    out = bw.export(small_model(tmp_path / "base", "llama"), tmp_path / "out", to="gguf")
    assert not any(each.ok for each in bw.verify_export(out))
