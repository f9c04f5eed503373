"""What lies next to an adapter of ours makes the same encoder again: every option, the pooling and
the layers behind it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.encoder.folder.adapter_settings import AdapterSettings, read_settings, stated_similarity, write_adapter_settings
from bothways.encoder.folder.head_modules import with_mlp
from bothways.encoder.options import EncoderOptions
from bothways.encoder.texts.tokenization import Wrapper
from bothways.errors import InputError
from bothways.folder_files import LLM2VEC
from bothways.objectives.contrastive_base import mlp_layer
from bothways.pooling import PoolingConfig
from tiny import SENTENCES, tiny_llama

CPU: dict[str, Any] = {"dtype": "float32", "device": "cpu"}
OPTIONS = EncoderOptions(
    max_length=77,
    pool_bos=False,
    pool_prompt=True,
    stock_prompts=True,
    normalize=True,
    prompts={"query": "Find: ", "document": ""},
    default_prompt="query",
    wrapper=Wrapper("[", "]", "|"),
    similarity="dot",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})


def described(encoder: bw.Encoder, folder: Path, **options: Any) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "bothways.json").write_text(json.dumps({"format": 1}))
    write_adapter_settings(encoder, folder, **options)
    found = read_settings(folder)
    assert found is not None
    assert json.loads((folder / "bothways.json").read_text())["format"] == 1
    return found


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
def test_every_option_comes_back(base: Path, tmp_path: Path, direction: Any) -> None:
    encoder = bw.convert(base, direction=direction, **CPU)
    encoder.options = replace(OPTIONS)
    found = described(encoder, tmp_path / "adapter")
    assert found.options() == OPTIONS
    assert (found.direction, found.vocabulary) == (direction, encoder.backbone.config.vocab_size)
    encoder.options = EncoderOptions()
    assert described(encoder, tmp_path / "plain").options() == EncoderOptions()


@pytest.mark.parametrize(
    "pooling",
    ["mean", "last", "bos", {"mode": "last_tokens", "tokens": 3}, {"mode": "latent_attention", "latents": 4, "heads": 2}],
)
@pytest.mark.parametrize("layer", [False, True])
def test_the_pooling_gives_the_same_vectors(base: Path, tmp_path: Path, pooling: Any, layer: bool) -> None:
    encoder = bw.convert(base, **CPU)
    torch.manual_seed(1)
    encoder.pooling = PoolingConfig.of(pooling).build(32)
    if layer:
        encoder.pooling = with_mlp(encoder.pooling, mlp_layer(32), width=32)
    expected = encoder.encode(SENTENCES)
    found = described(encoder, tmp_path / "adapter")
    encoder.pooling = found.build_pooling(tmp_path / "adapter", 32, torch.device("cpu"))
    np.testing.assert_allclose(encoder.encode(SENTENCES), expected, atol=1e-6)


def test_what_llm2vec_reads(base: Path, tmp_path: Path) -> None:
    """Its own names, and its own rule: BOS pooling never leaves the instruction out."""
    encoder = bw.convert(base, **CPU)
    encoder.options.max_length = 99
    names = {"mean": "mean", "weighted_mean": "weighted_mean", "last": "last_token", "bos": "bos_token"}
    for mode, name in names.items():
        for pooled in (False, True):
            encoder.pooling = PoolingConfig.of(mode).build(32)
            encoder.options.pool_prompt = pooled
            described(encoder, tmp_path / f"{mode}-{pooled}")
            assert json.loads((tmp_path / f"{mode}-{pooled}" / LLM2VEC).read_text()) == {
                "pooling_mode": name,
                "max_length": 99,
                "doc_max_length": 400,
                "skip_instruction": not pooled or mode == "bos",
            }
    described(encoder, tmp_path / "eos", pooling="eos_token")
    assert json.loads((tmp_path / "eos" / LLM2VEC).read_text())["pooling_mode"] == "eos_token"
    for number, pooling in enumerate((with_mlp(encoder.pooling, mlp_layer(32), width=32), PoolingConfig.of("max").build(32))):
        encoder.pooling = pooling
        described(encoder, tmp_path / f"none-{number}")
        assert not (tmp_path / f"none-{number}" / LLM2VEC).exists(), "LLM2Vec would give other vectors"


def test_an_adapter_of_others_and_broken_settings(tmp_path: Path) -> None:
    assert read_settings(tmp_path) is None
    (tmp_path / "bothways.json").write_text("{}")
    assert read_settings(tmp_path) is None
    for wrong in ({"pooling": "mean"}, {"direction": "causal", "pooling": "last_tokens", "pooling_tokens": 0}):
        (tmp_path / "bothways.json").write_text(json.dumps({"encoder": wrong}))
        with pytest.raises(InputError, match=r"bothways\.json: encoder"):
            read_settings(tmp_path)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_the_similarity_of_a_saved_encoder_is_told_without_opening_it(base: Path, tmp_path: Path, similarity: Any) -> None:
    encoder = bw.convert(base, **CPU)
    encoder.options = replace(encoder.options, similarity=similarity)
    encoder.save(tmp_path / "saved")
    assert stated_similarity(tmp_path / "saved") == similarity
    file = tmp_path / "saved" / "config_sentence_transformers.json"
    stored = json.loads(file.read_text())
    del stored["similarity_fn_name"]
    file.write_text(json.dumps(stored))
    assert stated_similarity(tmp_path / "saved") == "cosine"


@pytest.mark.parametrize("field", ["truncate_dim", "max_length", "pooling_tokens"])
def test_no_number_is_kept_of_nothing(field: str) -> None:
    given = {"direction": "bidirectional", "pooling": "mean"}
    assert getattr(AdapterSettings(**given, **{field: 1}), field) == 1
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        AdapterSettings(**given, **{field: 0})
