"""An encoder in the servable form has one vector for a bare text, in every loader: BOS is written by
the tokenizer that is saved, and pooled.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import AutoModel

import bothways as bw
from bothways import recipes
from bothways.exports.export import TARGETS
from bothways.exports.folders import folder_loaders
from bothways.exports.folders.folder_verify import VARIABLE
from bothways.exports.gguf import llama_cpp
from bothways.exports.graphs.padded_encoder import PaddedEncoder, plain_attention
from bothways.exports.prompt_costs import prompt_costs
from bothways.exports.reference import cosine
from bothways.training.stage.encoder_options import convert_options
from export_models import small_model

TEXT = "The river runs from the old mountain to the sea."
PROMPT = "Find the text: "


def made(folder: Path, **changes: Any) -> bw.Encoder:
    """What the recipe trains, before training."""
    base = small_model(folder / "base", "llama")
    recipe = recipes.llm2vec(str(base), "x.txt", "laptop", **(changes or {"servable": True, "prompts": {"query": PROMPT}}))
    return bw.convert(base, **convert_options(recipe), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> bw.Encoder:
    return made(tmp_path_factory.mktemp("servable"))


@pytest.fixture(scope="module")
def expected(encoder: bw.Encoder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Mean of all states of transformers' own model, with BOS before the base's own tokens."""
    folder = tmp_path_factory.mktemp("plain") / "saved"
    encoder.save(folder)
    model = AutoModel.from_pretrained(folder).eval()
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = {}
    for name, text in (("", TEXT), ("query", PROMPT + TEXT)):
        ids = [encoder.tokenizer.bos_token_id, *plain.encode(text, add_special_tokens=False).ids]
        with torch.no_grad():
            found[name] = model(torch.tensor([ids])).last_hidden_state[0].double().mean(0).numpy()
    return found


def same(vector: Any, other: Any) -> bool:
    return cosine(vector, other) > 0.999999


def test_here(encoder: bw.Encoder, expected: dict[str, Any]) -> None:
    assert same(encoder.encode(TEXT), expected[""]) and same(encoder.encode_query(TEXT), expected["query"])
    assert not same(expected[""], expected["query"])


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_no_loader_of_any_target_costs_anything(encoder: bw.Encoder, target: str) -> None:
    assert prompt_costs(encoder, target) == []


def test_sentence_transformers_and_transformers(encoder: bw.Encoder, expected: dict[str, Any], tmp_path: Path) -> None:
    out = bw.export(encoder, tmp_path / "out", to="sentence-transformers")
    model = SentenceTransformer(str(out), device="cpu")
    assert same(model.encode(TEXT), expected[""]) and same(model.encode_query(TEXT), expected["query"])
    rows = [{"text": TEXT, "prompt": ""}, {"text": PROMPT + TEXT, "prompt": ""}]
    plain = folder_loaders._transformers(str(out), rows, 1, False)
    assert same(plain[0], expected[""]) and same(plain[1], expected["query"])


@pytest.mark.parametrize("target", ["vllm", "tei"])
def test_servers_that_read_the_tokenizers_file(
    encoder: bw.Encoder, expected: dict[str, Any], tmp_path: Path, target: str
) -> None:
    out = bw.export(encoder, tmp_path / "out", to=target)
    ids = Tokenizer.from_file(str(out / "tokenizer.json")).encode(TEXT).ids
    assert ids == encoder.tokenize([TEXT])[0].ids and ids[0] == encoder.tokenizer.bos_token_id
    (vector,) = folder_loaders._transformers(str(out), [{"text": TEXT, "prompt": ""}], 1, False)
    assert same(vector, expected[""])


def test_llama_cpp(encoder: bw.Encoder, expected: dict[str, Any], tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    out = bw.export(encoder, tmp_path / "out", to="gguf")
    (file,) = out.glob("*.gguf")
    fields = gguf.GGUFReader(file).fields
    values = {name: field.contents() for name, field in fields.items() if not name.endswith("tokens")}
    assert values["tokenizer.ggml.add_bos_token"] is True
    assert values["tokenizer.ggml.bos_token_id"] == encoder.tokenizer.bos_token_id
    assert values["llama.pooling_type"] == 1 and values["llama.attention.causal"] is False
    if llama_cpp.installed():
        (vector,) = llama_cpp.encode(file, [TEXT], tokens=64, batch=False)
        assert same(vector, expected[""])


def test_a_graph_without_a_pool_mask_of_its_own(encoder: bw.Encoder, expected: dict[str, Any]) -> None:
    ids = torch.tensor([encoder.tokenize([PROMPT + TEXT])[0].ids])
    with plain_attention(encoder), torch.no_grad():
        vector = PaddedEncoder(encoder).eval()(ids, torch.ones_like(ids), torch.ones_like(ids))[-1][0]
    assert same(np.asarray(vector), expected["query"])


def test_llm2vec(encoder: bw.Encoder, tmp_path: Path) -> None:
    out = bw.export(encoder, tmp_path / "out", to="llm2vec")
    assert json.loads((out / "llm2vec_config.json").read_text())["skip_instruction"] is False
    assert Tokenizer.from_file(str(out / "tokenizer.json")).encode(TEXT).ids[0] == encoder.tokenizer.bos_token_id
    if os.environ.get(VARIABLE):
        assert all(each.ok and each.cost > 0.9999 for each in bw.verify_export(out))


def test_the_line_feed_is_what_costs(tmp_path: Path) -> None:
    before = made(tmp_path, servable=False)
    for target, loaders in {
        "gguf": {"llama.cpp and Ollama"},
        "tei": {"TEI"},
        "llm2vec": {"llm2vec"},
        "sentence-transformers": {"sentence-transformers before 6", "plain transformers"},
    }.items():
        found = [each for each in prompt_costs(before, target) if each.prompt == "default"]
        assert {each.loader for each in found} == loaders and max(each.cosine or 0.0 for each in found) < 0.9999, target
