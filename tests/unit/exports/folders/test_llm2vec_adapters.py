"""Adapters for the package llm2vec, written apart from their base: plain peft gives the merged
weights. With LLM2VEC_PYTHON, the package itself is asked.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import LlamaModel

import bothways as bw
from bothways.errors import InputError
from bothways.exports.folders.folder_verify import VARIABLE
from bothways.exports.folders.llm2vec_adapters import PEFT_0_12
from bothways.exports.manifest import read_manifest
from tiny import tiny_llama
from unit.training.material import TEXTS, mntp, recipe, simcse


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    tiny_llama(folder / "model")
    made = recipe(folder, mntp(), simcse(), base=str(folder / "model"), prompts={"query": "Find the text: "})
    bw.train(made, folder / "out", texts=TEXTS)
    return folder / "out"


def export(run: Path, out: Path) -> Path:
    return bw.export(run, out, to="llm2vec", adapters=True)


def test_plain_peft_gives_the_trained_weights(run: Path, tmp_path: Path) -> None:
    out = export(run, tmp_path / "out")
    assert read_manifest(out)["adapters"] == ["1-mntp", "2-simcse"]
    model: Any = LlamaModel.from_pretrained(out / "base")
    base = {name: value.clone() for name, value in model.state_dict().items()}
    for name in ("1-mntp", "2-simcse"):
        model = PeftModel.from_pretrained(model, str(out / name))
        assert all(bool(value.any()) for key, value in model.named_parameters() if "lora_B" in key)
        model = model.merge_and_unload()
    merged = bw.load(run, dtype="float32", device="cpu").backbone.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, merged[name], atol=1e-6, rtol=1e-6)
    assert any(bool((base[name] != merged[name]).any()) for name in base)


def test_the_files_are_those_of_the_published_ones(run: Path, tmp_path: Path) -> None:
    out = export(run, tmp_path / "out")
    for name in ("1-mntp", "2-simcse"):
        values = json.loads((out / name / "adapter_config.json").read_text())
        assert values["base_model_name_or_path"] == "base" and set(values) <= PEFT_0_12 and values["task_type"] is None
        assert json.loads((out / name / "llm2vec_config.json").read_text())["pooling_mode"] == "mean"
    assert (out / "1-mntp" / "config.json").is_file() and not (out / "2-simcse" / "config.json").exists()
    assert not (out / "model.safetensors").exists()
    assert 'from_pretrained("1-mntp", peft_model_name_or_path="2-simcse"' in (out / "README.md").read_text()


@pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"{VARIABLE} names no Python with llm2vec")
def test_the_package_gives_our_vectors(run: Path, tmp_path: Path) -> None:
    results = bw.verify_export(export(run, tmp_path / "out"))
    assert len(results) >= 10 and min(each.cosine for each in results) > 0.9999
    # with another second adapter the vectors would be others
    lora = tmp_path / "out" / "2-simcse" / "adapter_config.json"
    lora.write_text(json.dumps({**json.loads(lora.read_text()), "lora_alpha": 800}))
    assert not all(each.ok for each in bw.verify_export(tmp_path / "out"))


def test_what_has_no_separate_adapters(run: Path, tmp_path: Path) -> None:
    encoder = bw.load(run, dtype="float32", device="cpu")
    for model, target in ((encoder, "llm2vec"), (run, "gguf")):
        with pytest.raises(InputError, match="only an export of a run's folder to llm2vec"):
            bw.export(model, tmp_path / "out", to=target, adapters=True)
    encoder.save(tmp_path / "merged")
    with pytest.raises(InputError, match="keeps no adapter; train with keep=both"):
        export(tmp_path / "merged", tmp_path / "out")
    config = run / "adapters" / "1-mntp" / "adapter_config.json"
    before = config.read_text()
    config.write_text(json.dumps({**json.loads(before), "lora_bias": True}))
    with pytest.raises(InputError, match="does not know lora_bias"):
        export(run, tmp_path / "out")
    config.write_text(before)
    assert not (tmp_path / "out").exists()
