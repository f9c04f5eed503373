"""The encoder on tiny models: a vector depends on its own text only, and the public calls do what they say."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BloomConfig

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


def test_a_vector_does_not_depend_on_its_neighbours(encoder: Encoder) -> None:
    alone = np.stack([encoder.encode(text, batch_tokens=1) for text in TEXTS])
    assert np.abs(alone[0] - alone[1]).max() > 1e-2  # texts differ, or the rest would say nothing
    for batch_tokens in (1, 100, 700, 1024, 10_000):
        for batch_size in (None, 3):
            together = encoder.encode(TEXTS, batch_tokens=batch_tokens, batch_size=batch_size)
            assert np.abs(together - alone).max() < EXACT
    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    assert np.abs(encoder.encode([TEXTS[i] for i in order]) - alone[order]).max() < EXACT


def test_in_bfloat16_too(folders) -> None:
    half = bw.convert(folders["packed"], dtype="bfloat16", device="cpu")
    alone = np.stack([half.encode(text) for text in TEXTS])
    assert alone.dtype == np.float32
    for batch_tokens in (300, 10_000):
        assert cosines(half.encode(TEXTS, batch_tokens=batch_tokens), alone).min() > 0.9999


def test_equals_a_padded_batch_of_stock_transformers(folders) -> None:
    """Mean of last hidden states of an eager model with a bidirectional mask, BOS and all, instruction seen and not pooled."""
    encoder = bw.convert(folders["packed"], dtype="float32", device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(folders["packed"])
    stock = AutoModel.from_pretrained(folders["packed"], attn_implementation="eager", dtype=torch.float32).eval()
    texts = list(SENTENCES)
    padded = tokenizer(texts, return_tensors="pt", padding=True)
    mask = padded["attention_mask"]
    allowed = torch.zeros(len(texts), 1, *2 * mask.shape[1:]).masked_fill(
        mask[:, None, None] == 0, torch.finfo(torch.float32).min
    )
    with torch.no_grad():
        states = stock(input_ids=padded["input_ids"], attention_mask=allowed).last_hidden_state
    mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    assert np.abs(encoder.encode(texts) - mean.numpy()).max() < EXACT
    for found, own, length in zip(encoder.encode_tokens(texts), states, mask.sum(1)):
        assert found.states.shape == (int(length), 32)
        assert np.abs(found.states - own[:length].numpy()).max() < EXACT


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
    with pytest.raises(InputError, match="so it needs several texts"):
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


def test_encoding_leaves_training_possible(folders) -> None:
    """Positions and masks are cached by length: what encode put there must be usable with gradients."""
    encoder = bw.convert(folders["packed"], dtype="float32", device="cpu").train()
    texts = ["one unusual length of text here"] * 3
    vectors = encoder.encode(texts, batch_tokens=1000)
    assert encoder.training
    batch = encoder.pack(encoder.tokenize(texts))
    encoder.eval()
    loss = encoder(batch)
    assert np.abs(loss.detach().numpy() - vectors).max() < EXACT
    loss.sum().backward()
    assert all(p.grad is not None for name, p in encoder.backbone.named_parameters() if p.requires_grad)


def test_same_texts_same_numbers(llama: Encoder) -> None:
    assert (llama.encode(TEXTS) == llama.encode(TEXTS)).all()
