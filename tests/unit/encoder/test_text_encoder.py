"""The methods that map texts to vectors: forms of texts, streams, prompts, precision,
similarity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import BloomConfig

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
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


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_one_text_many_texts_and_none(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS[:3])
    assert (vectors.shape, vectors.dtype) == ((3, 32), np.float32)
    one = encoder.encode(TEXTS[0])
    assert one.shape == (32,)
    assert np.abs(one - vectors[0]).max() < EXACT
    assert encoder.encode(("Find: ", "x")).shape == (32,)
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.encode([], truncate_dim=7).shape == (0, 7)
    assert encoder.encode(iter(TEXTS[:3])).shape == (3, 32)
    assert (encoder.encode(text for text in TEXTS[:3]) == vectors).all()
    assert (encoder.encode(np.array(TEXTS[:3])) == vectors).all()
    tensor = encoder.encode(TEXTS[:3], convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    assert (tensor.numpy() == vectors).all()
    assert isinstance(encoder.encode(TEXTS[:3], convert_to_numpy=False), torch.Tensor)


def test_stream_equals_encode(llama: Encoder) -> None:
    parts = list(llama.encode_stream(iter(TEXTS), window=5, normalize_embeddings=True))
    assert [len(texts) for texts, _ in parts] == [5, 5, 5, 1]
    assert [text for texts, _ in parts for text in texts] == TEXTS
    found = np.concatenate([vectors for _, vectors in parts])
    assert np.abs(found - llama.encode(TEXTS, normalize_embeddings=True)).max() < EXACT
    with pytest.raises(InputError, match=r"texts\[7\]"):
        list(llama.encode_stream([*TEXTS[:7], 3], window=5))  # the index in the whole stream, not in the window


def test_truncate_and_normalise(llama: Encoder) -> None:
    vectors = llama.encode(TEXTS)
    assert np.allclose(llama.encode(TEXTS, truncate_dim=9), vectors[:, :9])
    unit = llama.encode(TEXTS, truncate_dim=9, normalize_embeddings=True)
    assert np.allclose(unit, vectors[:, :9] / np.linalg.norm(vectors[:, :9], axis=1, keepdims=True), atol=1e-6)
    llama.options.normalize = True
    try:
        assert np.allclose(np.linalg.norm(llama.encode(TEXTS), axis=1), 1, atol=1e-6)
        assert (llama.encode(TEXTS, normalize_embeddings=False) == vectors).all()
    finally:
        llama.options.normalize = False


def test_precision(llama: Encoder) -> None:
    from sentence_transformers.util import quantize_embeddings

    vectors = llama.encode(TEXTS, normalize_embeddings=True)
    for precision in ("int8", "ubinary"):
        found = llama.encode(TEXTS, normalize_embeddings=True, precision=precision)
        assert (found == quantize_embeddings(vectors, precision=precision)).all()
    assert llama.encode(SENTENCES[0], precision="binary").shape == (4,)
    with pytest.raises(InputError, match="so it needs several different texts"):
        llama.encode(SENTENCES[0], precision="int8")


def test_prompts(llama: Encoder) -> None:
    texts = list(SENTENCES)
    found = llama.encode(texts, prompt="Find: ")
    assert np.abs(found - llama.encode([("Find: ", text) for text in texts])).max() < EXACT
    assert (llama.encode(texts, prompt_name="query") == found).all()
    assert (llama.encode_query(texts) == found).all()
    assert (llama.encode_document(texts) == llama.encode(texts, prompt="Text: ")).all()
    assert (llama.encode_query(texts, prompt="") == llama.encode(texts)).all()
    assert (llama.encode_query(texts, prompt_name="passage") == llama.encode_document(texts)).all()
    assert np.abs(found - llama.encode(texts)).max() > 1e-3
    # an item's own instruction goes before the call's
    assert np.abs(llama.encode([("Text: ", texts[0])], prompt="Find: ") - llama.encode_document(texts[:1])).max() < EXACT
    with pytest.raises(
        InputError, match="prompt_name: 'qeury' is not stored with this encoder \\(stored: 'query', 'passage'\\)"
    ):
        llama.encode(texts, prompt_name="qeury")
    llama.options.default_prompt = "query"
    try:
        assert (llama.encode(texts) == found).all()
    finally:
        llama.options.default_prompt = None


def test_similarity(llama: Encoder) -> None:
    vectors = llama.encode(list(SENTENCES))
    expected = cosines(np.repeat(vectors, 8, 0), np.tile(vectors, (8, 1))).reshape(8, 8)
    assert np.abs(llama.similarity(vectors, vectors).numpy() - expected).max() < 1e-6
    for one in (vectors[0], torch.tensor(vectors[0]), vectors[0].tolist(), [vectors[0]], vectors[:1].astype(np.float16)):
        assert llama.similarity(one, torch.tensor(vectors)).shape == (1, 8)


@pytest.mark.parametrize("texts", [3, None, b"x", {"a": "b"}, [1], ["a", None], [["i"]]])
def test_what_is_no_text_is_refused(llama: Encoder, texts: Any) -> None:
    with pytest.raises(InputError, match="texts"):
        llama.encode(texts)


def test_same_texts_same_numbers(llama: Encoder) -> None:
    assert (llama.encode(TEXTS) == llama.encode(TEXTS)).all()
