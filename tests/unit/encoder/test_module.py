"""The module: vectors do not depend on the batch, and equal those of stock transformers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BloomConfig, OPTConfig

import bothways as bw
from bothways.encoder.encoder import Encoder
from tiny import SENTENCES, TINY, tiny_llama, tiny_model

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


def test_states_narrower_than_the_hidden_size(tmp_path: Any) -> None:
    """OPT-350m projects its last states to the width of its embeddings."""
    shape = {**TINY, "ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False}
    base = tiny_model(tmp_path / "base", OPTConfig, **shape)
    encoder = bw.convert(base, dtype="float32", device="cpu", direction="causal", pooling="last")
    assert (encoder.dimension, encoder.hidden_size) == (16, 16)
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base)
    with torch.no_grad():
        right = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1].numpy() for text in SENTENCES]
    assert np.abs(encoder.encode(SENTENCES) - right).max() < EXACT
    encoder.save(tmp_path / "saved")
    again = bw.load(tmp_path / "saved", dtype="float32", device="cpu")
    assert np.array_equal(again.encode(SENTENCES), encoder.encode(SENTENCES))


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
    """Mean of last hidden states of an eager model with a bidirectional mask, BOS and all,
    instruction seen and not pooled.
    """
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


def test_encoding_leaves_training_possible(folders) -> None:
    """Positions and masks are cached by length: what encode put there must be usable with
    gradients.
    """
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
