"""Exports for servers that do not run here: their rules by hand-made faults, and the vectors of
what is written in plain loaders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder import head_modules
from bothways.errors import InputError, UnsupportedFamily
from bothways.exports.reference import TEXTS, cosine
from bothways.exports.servers.server_rules import SERVERS
from bothways.exports.verify import verify_rules
from export_models import small_model

FIELDS: dict[str, dict[str, Any]] = {
    "granite": {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1, "logits_scaling": 2.0},
    "seed_oss": {"attention_bias": True},
}
BOTH = [(target, family) for target, server in SERVERS.items() for family in server.families]


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bases")


def encoder_of(bases: Path, family: str, **options: Any) -> Encoder:
    folder = bases / family
    if not folder.exists():
        small_model(folder, family, **FIELDS.get(family, {}))
    return bw.convert(folder, dtype="float32", **options)


def values(file: Path) -> Any:
    return json.loads(file.read_text())


@pytest.mark.parametrize(("target", "family"), BOTH)
def test_what_is_written_gives_our_vectors_and_follows_the_rules(bases: Path, tmp_path: Path, target: str, family: str) -> None:
    encoder = encoder_of(bases, family)
    out = bw.export(encoder, tmp_path / "out", to=target)
    rules = verify_rules(out)
    assert len(rules) > 10 and all(rule.ok for rule in rules)
    config = values(out / "config.json")
    assert config["architectures"] == [SERVERS[target].families[family].architecture or "LlamaModel"]
    text = TEXTS["korean"]
    model = AutoModel.from_pretrained(out).eval()  # float32, no code of ours
    with torch.no_grad():
        states = model(**AutoTokenizer.from_pretrained(out)(text, return_tensors="pt")).last_hidden_state[0]
    assert cosine(states.mean(0), encoder.encode(text)) > 0.999999


@pytest.mark.parametrize(("target", "family", "said"), [
    ("vllm", "gemma2", "gemma2 is refused for vllm; vLLM 0.33.0 runs it causally: its own class"),
    ("vllm", "smollm3", "runs it causally: it does not have a class of its own"),
    ("vllm", "codegen", "runs it causally"),
    ("tei", "seed_oss", "does not have biases in its attention"),
    ("tei", "gpt2", "TEI 1.9 does not have a class for the family"),
])  # fmt: skip
def test_a_family_that_would_be_causal_is_refused(bases: Path, tmp_path: Path, target: str, family: str, said: str) -> None:
    with pytest.raises(UnsupportedFamily, match=said):
        bw.export(encoder_of(bases, family), tmp_path / "out", to=target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", SERVERS)
@pytest.mark.parametrize(("options", "said"), [
    ({"pooling": "max"}, "does not have max pooling; it has mean, last, bos"),
    ({"pooling": "weighted_mean"}, "does not have weighted_mean pooling"),
    ({"pooling": "latent_attention"}, "does not have latent_attention pooling"),
    ({"direction": "causal"}, "the encoder is causal"),
    ({"wrapper": ("[INST] ", " [/INST]")}, "puts a wrapper around every text"),
])  # fmt: skip
def test_what_the_servers_lack(bases: Path, tmp_path: Path, target: str, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        bw.export(encoder_of(bases, "llama", **options), tmp_path / "out", to=target)
    assert list(tmp_path.iterdir()) == []


def test_positions_that_tei_does_not_compute(tmp_path: Path) -> None:
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    encoder = bw.convert(small_model(tmp_path / "base", "llama", rope_parameters=rope), dtype="float32")
    with pytest.raises(InputError, match="positions are stretched"):
        bw.export(encoder, tmp_path / "out", to="tei")
    assert not (tmp_path / "out").exists()
    bw.export(encoder, tmp_path / "out", to="vllm")


def test_special_tokens_are_numbers_for_tei(tmp_path: Path) -> None:
    """Llama 3's instruct models name two end tokens, where TEI reads one number and stops."""
    encoder = bw.convert(small_model(tmp_path / "base", "llama", eos_token_id=[1, 2], pad_token_id=None), dtype="float32")
    config = values(bw.export(encoder, tmp_path / "out", to="tei") / "config.json")
    assert config["eos_token_id"] == config["pad_token_id"] == 1


def test_first_token_of_qwen3_in_tei(bases: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pads Qwen3 on the left"):
        bw.export(encoder_of(bases, "qwen3", pooling="bos"), tmp_path / "out", to="tei")
    bw.export(encoder_of(bases, "qwen3", pooling="bos"), tmp_path / "out", to="vllm")


def test_layers_behind_the_pooling(bases: Path, tmp_path: Path) -> None:
    from sentence_transformers import models

    encoder = encoder_of(bases, "llama", normalize=True)
    dense = models.Dense(64, 8, activation_function=torch.nn.Tanh())
    encoder.pooling = head_modules.Headed(encoder.pooling, [dense], width=64)
    for target in SERVERS:
        out = bw.export(encoder, tmp_path / target, to=target)
        assert [module["type"].rpartition(".")[2] for module in values(out / "modules.json")][1:] == [
            "Pooling",
            "Dense",
            "Normalize",
        ]
    gelu = models.Dense(64, 8, activation_function=torch.nn.GELU())
    encoder.pooling = head_modules.Headed(encoder.pooling.inner, [gelu], width=64)
    bw.export(encoder, tmp_path / "gelu", to="vllm")
    with pytest.raises(InputError, match="2_Dense has the activation GELU"):
        bw.export(encoder, tmp_path / "no", to="tei")
    norm = head_modules.Headed(encoder.pooling.inner, [models.LayerNorm(64)], width=64)
    encoder.pooling = norm
    with pytest.raises(InputError, match=r"modules\.json has"):
        bw.export(encoder, tmp_path / "no", to="vllm")


def test_widths_of_a_matryoshka_encoder(bases: Path, tmp_path: Path) -> None:
    encoder = encoder_of(bases, "llama")
    assert "is_matryoshka" not in values(bw.export(encoder, tmp_path / "plain", to="vllm") / "config.json")
    encoder.provenance["stages"] = [{"name": "a", "objective": {"matryoshka": [64, 16, 32]}}, {"name": "b", "objective": {}}]
    config = values(bw.export(encoder, tmp_path / "out", to="vllm") / "config.json")
    assert (config["is_matryoshka"], config["matryoshka_dimensions"]) == (True, [16, 32, 64])
    assert '`"dimensions"` of 16, 32, 64' in (tmp_path / "out" / "README.md").read_text()
