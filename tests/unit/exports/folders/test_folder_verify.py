"""Exports that are folders: what they hold, what their loaders give, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.exports.folders import folder_loaders, folder_verify
from bothways.exports.manifest import read_manifest
from bothways.exports.reference import cosine
from export_models import small_model

PROMPTS = {"query": "Find:\n", "document": "Text\n"}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return small_model(tmp_path_factory.mktemp("llama") / "base", "llama")


@pytest.fixture(scope="module")
def encoder(base: Path) -> Encoder:
    return bw.convert(base, dtype="float32", prompts=PROMPTS, max_length=None, normalize=True)


def values(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loaders run here: a process of their own imports torch again."""

    def run(python: str, folder: Path, loader: str, rows: list[dict], *, trust: bool = False) -> dict[str, Any]:
        found = [folder_loaders.LOADERS[loader](str(folder), rows, size, trust) for size in (1, len(rows))]
        return {"versions": {loader: "here"}, "vectors": found}

    monkeypatch.setattr(folder_verify, "run", run)


def test_both_loaders_give_our_vectors(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_process(monkeypatch)
    out = bw.export(encoder, tmp_path / "out", to="sentence-transformers")
    results = bw.verify_export(out)
    assert {each.loader for each in results} == {"sentence-transformers here", "transformers here"}
    assert {"prompt query, single", "prompt document, batch", "korean, batch"} <= {each.case for each in results}
    assert all(each.ok for each in results)
    assert values(out / "sentence_bert_config.json")["max_seq_length"] == 1024  # the model's positions; servers need a number


def test_a_causal_loader_is_found(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_process(monkeypatch)
    out = bw.export(encoder, tmp_path / "out", to="sentence-transformers")
    (out / "config.json").write_text(json.dumps({**values(out / "config.json"), "is_causal": True}))
    results = bw.verify_export(out)
    assert not any(each.ok for each in results)


@pytest.mark.parametrize("options", [{"pooling": "weighted_mean"}, {"pooling": "last"}, {"pooling": "max"}, {"pooling": "bos"}])
def test_poolings_of_the_plain_loader(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict) -> None:
    in_process(monkeypatch)
    out = bw.export(bw.convert(base, dtype="float32", **options), tmp_path / "out", to="sentence-transformers")
    assert all(each.ok for each in bw.verify_export(out))


def test_another_process_gives_the_same(encoder: Encoder, tmp_path: Path) -> None:
    out = bw.export(encoder, tmp_path / "out", to="sentence-transformers", dtype="f16")
    rows = read_manifest(out)["reference"][:2]
    answer = folder_verify.run(sys.executable, out, "sentence-transformers", rows)
    for vectors in answer["vectors"]:
        assert min(cosine(a, row["vector"]) for a, row in zip(vectors, rows)) > 0.999
    assert np.asarray(answer["vectors"]).shape == (2, 2, encoder.dimension)


def test_other_bad_input(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'vlm' is not a target; did you mean 'vllm'"):
        bw.export(encoder, tmp_path / "out", to="vlm")
    (tmp_path / "empty").mkdir()
    with pytest.raises(bw.errors.BothwaysError):
        bw.export(tmp_path / "empty", tmp_path / "out", to="sentence-transformers")
    with pytest.raises(InputError, match="is not an export"):
        bw.verify_export(tmp_path / "empty")
    out = bw.export(encoder, tmp_path / "out", to="sentence-transformers")
    with pytest.raises(InputError, match="cannot be run"):
        folder_verify.run(str(tmp_path / "no-python"), out, "transformers", [])
    (out / "bothways-export.json").write_text(json.dumps({"loaders": ["transformers"]}))
    with pytest.raises(InputError, match="damaged"):
        bw.verify_export(out)
