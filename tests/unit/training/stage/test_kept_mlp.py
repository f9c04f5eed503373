"""SimCSE's MLP kept at test: what is saved, what sentence-transformers makes of it, and that
keeping it changes nothing in training.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

import bothways as bw
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.training.recipe.recipe import Recipe
from tiny import SENTENCES
from unit.training.material import TEXTS, interrupted, metrics, recipe, simcse, weights

KEPT = {"kind": "contrastive", "max_length": 16, "attention_dropout": 0.3, "mlp": True, "keep_mlp": True}
DROPPED = {**KEPT, "keep_mlp": None}


def made(folder: Path, *stages: dict[str, Any], **changes: Any) -> Recipe:
    return recipe(folder, *(stages or [simcse(objective=KEPT)]), **{"prompts": {"query": "Find: "}, **changes})


def stock(folder: Path, texts=SENTENCES, **options: Any) -> np.ndarray:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(list(texts), **options)


def ours(folder: Path, **options: Any) -> np.ndarray:
    return bw.load(folder, dtype="float32", device="cpu").encode(SENTENCES, **options)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    bw.train(made(folder), folder / "out", texts=TEXTS)
    return folder / "out"


def test_saved_vectors_pass_through_linear_and_tanh(kept: Path) -> None:
    listed = [module["type"].rsplit(".", 1)[-1] for module in json.loads((kept / "modules.json").read_text())]
    assert listed == ["Transformer", "Pooling", "Dense"]
    layer = load_file(kept / "2_Dense" / "model.safetensors")
    assert json.loads((kept / "2_Dense" / "config.json").read_text())["activation_function"].endswith("Tanh")
    encoder = bw.load(kept, dtype="float32", device="cpu")
    rows = encoder.tokenize(list(SENTENCES))
    with torch.no_grad():
        means = torch.stack([encoder.states(encoder.pack([row])).mean(0) for row in rows]).double()
    expected = torch.tanh(means @ layer["linear.weight"].double().T + layer["linear.bias"].double())
    np.testing.assert_allclose(ours(kept), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"prompt_name": "query"}])
def test_sentence_transformers_gives_the_same_vectors(kept: Path, options: dict[str, Any]) -> None:
    one, other = ours(kept, **options), stock(kept, **options)
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-6)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_keeping_changes_the_folder_and_not_the_training(kept: Path, tmp_path: Path) -> None:
    bw.train(made(tmp_path, simcse(objective=DROPPED)), tmp_path / "out", texts=TEXTS)
    assert not (tmp_path / "out" / "2_Dense").exists()
    lines = [[line["loss"] for line in metrics(out) if "loss" in line] for out in (tmp_path / "out", kept)]
    assert len(lines[0]) >= 3 and lines[0] == lines[1]
    one, other = weights(kept), weights(tmp_path / "out")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert np.abs(ours(kept) - ours(tmp_path / "out")).max() > 0.1, "the layer shows"


def test_the_layer_has_learned(kept: Path) -> None:
    layer = load_file(kept / "2_Dense" / "model.safetensors")
    assert layer["linear.bias"].abs().max() > 1e-4, "it begins at zero"


def test_an_adapter_alone_keeps_the_layer_too(kept: Path, tmp_path: Path) -> None:
    adapter = kept / "adapters" / "1-simcse"
    assert not (adapter / "llm2vec_config.json").exists(), "LLM2Vec has no place for the layer"
    np.testing.assert_allclose(ours(adapter), ours(kept), atol=2e-5)
    bw.train(made(tmp_path, simcse(objective=KEPT, keep="adapter")), tmp_path / "out", texts=TEXTS)
    np.testing.assert_allclose(ours(tmp_path / "out"), ours(kept), atol=2e-5)


def test_a_stopped_run_resumes_to_the_same_layer(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = simcse(objective=KEPT, optim={"lr": 1e-3, "steps": 8})
    bw.train(made(tmp_path, stage), tmp_path / "whole", texts=TEXTS)
    interrupted(made(tmp_path, stage), tmp_path / "out", monkeypatch)
    bw.train(made(tmp_path, stage), tmp_path / "out", texts=TEXTS, resume=True)
    files = [load_file(tmp_path / name / "2_Dense" / "model.safetensors") for name in ("whole", "out")]
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])


def test_a_later_stage_trains_the_same_layer_on(kept: Path, tmp_path: Path) -> None:
    rows = [Example(text, [f"{text} Indeed."]) for text in SENTENCES]
    objective = {"kind": "supervised", "max_length": 16, "negatives": 0, "mlp": True, "keep_mlp": True}
    stage = simcse(name="supervised", objective=objective, data={"source": "rows"}, batch={"size": 4})
    bw.train(made(tmp_path, stage, base=str(kept), prompts={}), tmp_path / "out", texts=rows)
    listed = [module["type"].rsplit(".", 1)[-1] for module in json.loads((tmp_path / "out" / "modules.json").read_text())]
    assert listed == ["Transformer", "Pooling", "Dense"]
    before, after = (load_file(out / "2_Dense" / "model.safetensors") for out in (kept, tmp_path / "out"))
    moved = (before["linear.weight"] - after["linear.weight"]).abs().max()
    assert 1e-5 < moved < 0.1, "the same layer, a few steps further"
    np.testing.assert_allclose(ours(tmp_path / "out"), stock(tmp_path / "out"), atol=1e-5)


def test_a_layer_that_is_not_trained_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stages\.0\.objective.*keep_mlp: there is no layer to keep; set mlp to true"):
        made(tmp_path, simcse(objective={**KEPT, "mlp": False}))


def test_a_cut_encoder_has_no_room_for_it(kept: Path, tmp_path: Path) -> None:
    import shutil

    base = shutil.copytree(kept, tmp_path / "cut", ignore=shutil.ignore_patterns("checkpoints", "adapters"))
    file = base / "config_sentence_transformers.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "truncate_dim": 8}))
    with pytest.raises(InputError, match="cuts its vectors to 8 numbers"):
        bw.train(made(tmp_path, base=str(base), prompts={}), tmp_path / "out", texts=TEXTS)
