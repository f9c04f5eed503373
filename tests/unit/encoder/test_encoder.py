"""The encoder on tiny models: a vector depends on its own text only, and the public calls do what
they say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers import BloomConfig

import bothways as bw
from bothways.encoder.encoder import Encoder
from tiny import SENTENCES, tiny_llama, tiny_model

TEXTS: list[Any] = [*SENTENCES, "", " ", "x", "今日は" * 20, ("Find: ", SENTENCES[0]), ("検索：", "散歩"), "a " * 400, "🙂 \0"]
EXACT = 1e-5  # float32, order of additions only


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Any]:
    top = tmp_path_factory.mktemp("models")
    bloom = {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.1}
    return {
        "packed": tiny_llama(top / "llama", tokenizer={"add_bos": True}),
        "padded": tiny_model(top / "bloom", BloomConfig, **bloom),
    }


@pytest.fixture(scope="module", params=["packed", "padded"])
def encoder(request, folders) -> Encoder:
    made = bw.convert(folders[request.param], dtype="float32", device="cpu", prompts={"query": "Find: ", "other": "検索："})
    assert made.execution == request.param
    return made


@pytest.fixture(scope="module")
def llama(folders) -> Encoder:
    prompts = {"query": "Find: ", "passage": "Text: "}
    return bw.convert(folders["packed"], dtype="float32", device="cpu", prompts=prompts)


def test_token_states_are_what_is_pooled(encoder: Encoder) -> None:
    tokens = encoder.encode_tokens(TEXTS, batch_tokens=333)
    vectors = encoder.encode(TEXTS)
    assert len(tokens) == len(TEXTS)
    for item, vector in zip(tokens, vectors):
        assert np.abs(item.states[item.pool].mean(0, dtype=np.float64) - vector).max() < EXACT
        assert item.states.dtype == np.float32
        assert len(item.states) == len(item.offsets) == len(item.pool) == len(item.ids)


def test_token_offsets_point_into_the_text(llama: Encoder) -> None:
    item = llama.encode_tokens(("Find: ", "Open the file."))
    assert "".join(dict.fromkeys("Open the file."[a:b] for a, b in item.offsets)) == "Open the file."
    assert [span for span, pooled in zip(item.offsets, item.pool) if not pooled] == [(0, 0)] * int((~item.pool).sum())
    whole = llama.encode_tokens("Open the file.", prompt="Find: ")
    assert np.abs(item.states - whole.states).max() < EXACT
    assert llama.encode_tokens([]) == []
