"""What mteb is told of an encoder, and the fingerprint of its weights."""

from __future__ import annotations

import pytest
import torch

from bothways.encoder.convert import convert
from bothways.evaluation.mteb.metadata import model_meta, weights_fingerprint
from tiny import tiny_llama

pytest.importorskip("mteb")


class Plain:
    """Takes texts and nothing else."""

    def encode(self, texts):
        return torch.tensor([[len(text), text.count("a") + 1.0] for text in texts], dtype=torch.bfloat16)


def test_what_mteb_is_told_of_an_encoder(tmp_path):
    encoder = convert(str(tiny_llama(tmp_path / "base")), device="cpu", dtype="float32")
    meta = model_meta(encoder, "llm2vec")
    assert meta.n_parameters == sum(p.numel() for p in encoder.backbone.parameters())
    assert meta.n_embedding_parameters == encoder.backbone.get_input_embeddings().weight.numel()
    assert (meta.embed_dim, meta.modalities, meta.framework) == (32, ["text"], ["PyTorch"])
    assert meta.memory_usage_mb == pytest.approx(meta.n_parameters * 4 / 2**20, abs=1e-3)
    assert meta.name.count("/") == 1 and meta.name.endswith("/base")
    assert meta.experiment_kwargs == {"direction": "bidirectional", "dtype": "float32", "prompts": "llm2vec"}
    assert meta.license is None and meta.training_datasets is None, "unknown stays unknown"
    assert model_meta(Plain()).name == "bothways/Plain"


def test_the_revision_stands_for_weights_and_settings(tmp_path):
    base = str(tiny_llama(tmp_path / "base"))
    settings = {"device": "cpu", "dtype": "float32"}
    encoder, again = convert(base, **settings), convert(base, **settings)
    first = weights_fingerprint(encoder)
    assert first == weights_fingerprint(again)
    assert first != weights_fingerprint(convert(base, **settings, direction="causal"))
    assert first != weights_fingerprint(convert(base, **settings, pooling="last"))
    with torch.no_grad():
        next(again.backbone.layers[1].mlp.parameters()).mul_(1.001)
    assert first != weights_fingerprint(again)
    assert weights_fingerprint(Plain()) is None
