"""A folder in the oldest sentence-transformers that reads it in both directions: `make exports` makes
an environment with it, and names its Python in OLDER_ST_PYTHON. Elsewhere this is skipped.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import bothways as bw
from bothways.exports.folders import folder_verify
from bothways.exports.manifest import read_manifest
from bothways.exports.reference import cosine
from export_models import small_model

PYTHON = os.environ.get("OLDER_ST_PYTHON", "")

pytestmark = pytest.mark.skipif(not PYTHON, reason="OLDER_ST_PYTHON names no Python; see make exports")


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text"])
@pytest.mark.parametrize("options", [{}, {"pooling": "last", "normalize": True}], ids=["mean", "last"])
def test_it_gives_our_vectors(tmp_path: Path, family: str, options: dict[str, Any]) -> None:
    prompts = {"query": "Find the text:", "document": "Text:"}
    encoder = bw.convert(small_model(tmp_path / "base", family), prompts=prompts, dtype="float32", device="cpu", **options)
    out = bw.export(encoder, tmp_path / "out", to="sentence-transformers")
    rows = read_manifest(out)["reference"]
    answer = folder_verify.run(PYTHON, out, "sentence-transformers", rows)
    for vectors in answer["vectors"]:
        assert min(cosine(vector, row["vector"]) for vector, row in zip(vectors, rows, strict=True)) > 0.9999, answer[
            "versions"
        ]
