"""Exports for the package llm2vec. With LLM2VEC_PYTHON, the Python of an environment with it, the
package itself is asked.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError, UnsupportedFamily
from bothways.exports.folders.folder_verify import VARIABLE
from bothways.exports.manifest import read_manifest
from export_models import small_model

FAMILIES = ("llama", "mistral", "gemma", "qwen2", "granite")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return small_model(tmp_path_factory.mktemp("base") / "llama", "llama")


@pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"{VARIABLE} names no Python with llm2vec")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_package_gives_our_vectors(tmp_path: Path, family: str) -> None:
    encoder = bw.convert(small_model(tmp_path / "base", family), dtype="float32", prompts={"query": "Find the text: "})
    results = bw.verify_export(bw.export(encoder, tmp_path / "out", to="llm2vec"))
    assert len(results) >= 10 and all(each.ok for each in results)


@pytest.mark.parametrize(("options", "skip", "mode"), [
    ({}, True, "mean"),
    ({"prompts": {"query": "Find: "}}, True, "mean"),
    ({"pooling": "last"}, False, "last_token"),
    ({"pooling": "weighted_mean"}, True, "weighted_mean"),
])  # fmt: skip
def test_what_is_pooled(base: Path, tmp_path: Path, options: dict, skip: bool, mode: str) -> None:
    out = bw.export(bw.convert(base, dtype="float32", max_length=77, **options), tmp_path / "out", to="llm2vec")
    settings = json.loads((out / "llm2vec_config.json").read_text())
    assert settings == {"pooling_mode": mode, "max_length": 77, "doc_max_length": 77, "skip_instruction": skip}


def test_the_files_have_the_forms_of_transformers_4_44(base: Path, tmp_path: Path) -> None:
    out = bw.export(bw.convert(base, dtype="float32"), tmp_path / "out", to="llm2vec")
    config = json.loads((out / "config.json").read_text())
    assert config["rope_theta"] == 10000.0 and config["torch_dtype"] == "float32"
    assert not {"rope_parameters", "dtype", "pruned_heads"} & set(config)
    assert all(isinstance(pair, str) for pair in json.loads((out / "tokenizer.json").read_text())["model"]["merges"])
    assert json.loads((out / "tokenizer_config.json").read_text())["model_input_names"] == ["input_ids", "attention_mask"]
    assert not (out / "modules.json").exists() and read_manifest(out)["loaders"] == ["llm2vec"]


def test_a_prompt_that_llm2vec_cannot_join_is_named(base: Path, tmp_path: Path) -> None:
    encoder = bw.convert(base, dtype="float32", prompts={"query": "Find: ", "line": "Find:\n"})
    out = bw.export(encoder, tmp_path / "out", to="llm2vec")
    assert [row["case"] for row in read_manifest(out)["reference"]][-1] == "prompt query"
    assert "| line | `Find:\\n` | not possible" in (out / "README.md").read_text()


@pytest.mark.parametrize(("options", "said"), [
    ({"pooling": "max"}, "does not have max pooling; it has mean"),
    ({"direction": "causal"}, "the encoder is causal"),
    ({"wrapper": ("<u>", "</u>")}, "puts a wrapper around every text"),
    ({"pooling": "bos"}, "the encoder pools BOS, but this tokenizer does not"),
])  # fmt: skip
def test_what_llm2vec_lacks(base: Path, tmp_path: Path, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        bw.export(bw.convert(base, dtype="float32", **options), tmp_path / "out", to="llm2vec")
    assert list(tmp_path.iterdir()) == []


def test_other_families_and_no_python(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = bw.convert(small_model(tmp_path / "qwen3", "qwen3"), dtype="float32")
    with pytest.raises(UnsupportedFamily, match="qwen3 is refused for llm2vec"):
        bw.export(encoder, tmp_path / "no", to="llm2vec")
    assert not (tmp_path / "no").exists()
    monkeypatch.delenv(VARIABLE, raising=False)
    out = bw.export(bw.convert(base, dtype="float32"), tmp_path / "out", to="llm2vec")
    with pytest.raises(InputError, match="Python: --with PYTHON"):
        bw.verify_export(out)
