"""Two adapters over one base: what they do not change is in memory once, and vectors stay."""

from __future__ import annotations

import numpy as np
import torch

import bothways as bw
from bothways.backbone.sharing import share_weights
from embedding_server import running
from tiny import SENTENCES, tiny_llama


def memory(*encoders) -> int:
    """Bytes of all weights, those of one memory once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for encoder in encoders
        for tensor in (*encoder.parameters(), *encoder.buffers())
        if tensor.numel()
    }
    return sum(storages.values())


def adapted(base, seed: int):
    """An encoder of the base with merged changes of the attention, as an adapter makes them."""
    encoder = bw.convert(str(base), dtype="float32")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if "q_proj" in name or "v_proj" in name:
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return encoder


def test_equal_weights_are_kept_once(tmp_path) -> None:
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True})
    encoders = {name: adapted(base, seed) for seed, name in enumerate(("one", "two"))}
    expected = {name: encoder.encode(list(SENTENCES)) for name, encoder in encoders.items()}
    assert np.abs(expected["one"] - expected["two"]).max() > 1e-3
    before = memory(*encoders.values())
    changed = sum(weight.nbytes for name, weight in encoders["two"].named_parameters() if "q_proj" in name or "v_proj" in name)
    saved = share_weights(encoders.values())
    assert before - memory(*encoders.values()) == saved > 0
    assert memory(*encoders.values()) - memory(encoders["one"]) == changed
    assert share_weights(encoders.values()) == 0
    for name, encoder in encoders.items():
        np.testing.assert_array_equal(encoder.encode(list(SENTENCES)), expected[name])


def test_the_server_shares_them_and_answers_by_name(tmp_path) -> None:
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True})
    encoders = {name: adapted(base, seed) for seed, name in enumerate(("one", "two"))}
    expected = {name: encoder.encode(SENTENCES[0]) for name, encoder in encoders.items()}
    with running(encoders) as server:
        assert memory(*encoders.values()) < 1.7 * memory(encoders["one"])
        for name in ("one", "two", "one"):
            answer = server.ask("/v1/embeddings", {"input": SENTENCES[0], "model": name})[1]
            np.testing.assert_allclose(answer["data"][0]["embedding"], expected[name], rtol=0, atol=1e-5)


def test_large_tensors_and_single_numbers() -> None:
    def module(fill: int) -> torch.nn.Module:
        made = torch.nn.Module()
        made.register_buffer("large", torch.full((28_311_552,), fill, dtype=torch.int8))
        made.register_buffer("single", torch.tensor(3.0))
        return made

    assert share_weights([module(1), module(1)]) == 28_311_552 + 4
    assert share_weights([module(1), module(2)]) == 4
