"""The module over padded batches gives the encoder's vectors, with padding on either side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.errors import InputError
from bothways.exports.graphs.padded_encoder import PaddedEncoder, plain_attention
from export_models import small_model

TEXTS = ["a cat", "The river runs from the old mountain to the sea in 1984 or 2024.", "x", "오늘은 날씨가 좋아서", ""]


def _near(a: Any, b: Any) -> bool:
    return bool(np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-5)


@pytest.mark.parametrize("windows", ["keep", "lift"])
@pytest.mark.parametrize("model_type", ["gemma3_text", "mistral", "gpt2", "bloom"])
def test_padding_on_either_side(tmp_path: Path, model_type: str, windows: str) -> None:
    base = small_model(
        tmp_path / "base", model_type, **({"sliding_window": 4} if model_type in ("gemma3_text", "mistral") else {})
    )
    encoder = bw.convert(base, dtype="float32", device="cpu", windows=windows)
    rows = encoder.tokenize(TEXTS[:4])
    length = max(len(row.ids) for row in rows)
    own = encoder.encode(TEXTS[:4], normalize_embeddings=False)
    with plain_attention(encoder), torch.no_grad():
        module = PaddedEncoder(encoder).eval()
        for left in (False, True):
            arrays = torch.zeros(3, len(rows), length, dtype=torch.long)
            for index, row in enumerate(rows):
                place = slice(length - len(row.ids), length) if left else slice(0, len(row.ids))
                arrays[0, index, place] = torch.tensor(row.ids)
                arrays[1, index, place] = 1
                arrays[2, index, place] = torch.tensor(row.pool).long()
            assert _near(module(*arrays)[-1], own)


def test_a_kept_window_matters(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "mistral", sliding_window=4)
    kept, lifted = (bw.convert(base, dtype="float32", device="cpu", windows=way).encode(TEXTS[1]) for way in ("keep", "lift"))
    assert not _near(kept, lifted)


@pytest.mark.parametrize("pooling", ["mean", "weighted_mean", "last", "bos", "max"])
def test_every_pooling_gives_the_encoders_vectors(tmp_path: Path, pooling: str) -> None:
    encoder = bw.convert(
        small_model(tmp_path / "base", "llama"), pooling=pooling, dtype="float32", device="cpu", normalize=True
    )
    rows = encoder.tokenize(TEXTS[:4])
    length = max(len(row.ids) for row in rows)
    arrays = torch.zeros(3, len(rows), length, dtype=torch.long)
    for index, row in enumerate(rows):
        arrays[0, index, : len(row.ids)] = torch.tensor(row.ids)
        arrays[1:, index, : len(row.ids)] = 1
    before = encoder.backbone.config._attn_implementation
    with plain_attention(encoder), torch.no_grad():
        assert encoder.backbone.config._attn_implementation == "eager"
        unit, plain = PaddedEncoder(encoder).eval()(*arrays)
    assert encoder.backbone.config._attn_implementation == before
    assert _near(unit, encoder.encode(TEXTS[:4]))
    assert _near(plain, encoder.encode(TEXTS[:4], normalize_embeddings=False))


def test_what_the_graph_lacks_is_refused(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "llama")
    with pytest.raises(InputError, match="the encoder is causal; convert it"):
        PaddedEncoder(bw.convert(base, direction="causal", dtype="float32"))
    with pytest.raises(InputError, match="export: the graph does not have self_attention pooling"):
        PaddedEncoder(bw.convert(base, pooling="self_attention", dtype="float32"))


def test_no_number_of_a_graph_needs_64_bits(tmp_path: Path) -> None:
    """OpenVINO computes int64 in int32 and float64 in float32 without a warning."""
    base = small_model(tmp_path / "base", "mistral", sliding_window=4)
    encoder = bw.convert(base, dtype="float32", device="cpu", windows="keep")
    ids, mask = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 0, 0]]), torch.ones(2, 5, dtype=torch.long)
    with plain_attention(encoder), torch.no_grad():
        graph = torch.export.export(PaddedEncoder(encoder).eval(), (ids, mask, mask.clone()))
    numbers = [each for node in graph.graph.nodes for each in node.args if isinstance(each, int)]
    tensors = [node.meta["val"] for node in graph.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
    constants = [*graph.constants.values(), *graph.state_dict.values()]
    assert len(tensors) > 20 and {torch.float32, torch.int64} <= {each.dtype for each in tensors}
    assert not [each for each in (*tensors, *constants) if each.dtype == torch.float64]
    whole = [each for each in constants if each.dtype == torch.int64 and each.numel()]
    assert all(int(each.abs().max()) < 2**31 for each in whole)
    # a slice to the end ends at the largest number of 64 bits, which every runtime cuts to the size
    assert all(abs(each) < 2**31 or each == 2**63 - 1 for each in numbers)
