"""Folders of sentence-transformers with an adapter in place of weights: its vectors, from the
adapter's base or a given one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from sentence_transformers import SentenceTransformer

import bothways as bw
from bothways.errors import InputError, SourceError
from tiny import SENTENCES, tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = list(SENTENCES[:4])


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base")


def tuned(base: Path, place: Path, pooling: str = "lasttoken", **options: object) -> tuple[Path, np.ndarray]:
    """A tuned model as sentence-transformers saves it, and its vectors of TEXTS."""
    from sentence_transformers.models import Normalize, Pooling, Transformer

    transformer = Transformer(str(base))
    model = SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode=pooling), Normalize()], device="cpu")
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **options}
    model.add_adapter(LoraConfig(**settings))  # type: ignore[arg-type]
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save(str(place))
    return place, model.encode(TEXTS)


@pytest.mark.parametrize("pooling", ["lasttoken", "mean"])
def test_vectors_are_those_of_sentence_transformers(base: Path, tmp_path: Path, pooling: str) -> None:
    place, right = tuned(base, tmp_path / "tuned", pooling)
    plain = bw.convert(base, direction="causal", pooling="last", dtype="float32", device="cpu", normalize=True).encode(TEXTS)
    assert np.abs(plain - right).max() > 0.01
    encoder = bw.load(place, dtype="float32", device="cpu")
    assert np.abs(encoder.encode(TEXTS) - right).max() < 1e-5
    assert np.abs(bw.load(place, base=base, dtype="float32", device="cpu").encode(TEXTS) - right).max() < 1e-5
    encoder.save(tmp_path / "merged")
    assert np.abs(SentenceTransformer(str(tmp_path / "merged"), device="cpu").encode(TEXTS) - right).max() < 1e-5


def test_settings_by_name(base: Path, tmp_path: Path) -> None:
    place, right = tuned(
        base, tmp_path / "tuned", target_modules=["q_proj", "v_proj"], alpha_pattern={"layers.0.self_attn.q_proj": 64}
    )
    assert np.abs(bw.load(place, dtype="float32", device="cpu").encode(TEXTS) - right).max() < 1e-5


def test_an_adapter_in_the_folder_of_the_transformer(base: Path, tmp_path: Path) -> None:
    place, right = tuned(base, tmp_path / "tuned")
    (place / "0_Transformer").mkdir()
    for file in [*place.glob("adapter_*"), *place.glob("tokenizer*"), place / "sentence_bert_config.json"]:
        shutil.move(file, place / "0_Transformer" / file.name)
    modules = json.loads((place / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (place / "modules.json").write_text(json.dumps(modules))
    assert np.abs(bw.load(place, dtype="float32", device="cpu").encode(TEXTS) - right).max() < 1e-5


def test_a_base_that_is_gone(base: Path, tmp_path: Path) -> None:
    place, right = tuned(base, tmp_path / "tuned")
    config = json.loads((place / "adapter_config.json").read_text())
    for name, error in ((str(tmp_path / "gone"), SourceError), (None, InputError), (3, InputError), ("", InputError)):
        (place / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))
        with pytest.raises(error, match="base="):
            bw.load(place)
        assert np.abs(bw.load(place, base=base, dtype="float32", device="cpu").encode(TEXTS) - right).max() < 1e-5


def test_a_base_for_a_folder_of_weights_is_refused(base: Path, tmp_path: Path) -> None:
    bw.convert(base, dtype="float32", device="cpu").save(tmp_path / "encoder")
    with pytest.raises(InputError, match="has weights of its own"):
        bw.load(tmp_path / "encoder", base=base)
