"""Families that would give other vectors in llama.cpp are refused, and fused matrices are reordered."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import bothways as bw
from bothways.errors import UnsupportedFamily
from bothways.exports.gguf.gguf_families import falcon_queries, grouped_by_kind, interleaved, norm1p, norm_from_one
from bothways.exports.gguf.gguf_file import write_gguf
from export_models import small_model


@pytest.mark.parametrize(
    ("model_type", "changed", "said"),
    [
        ("bloom", {}, "bloom gives other vectors in llama.cpp: its bias grows"),
        ("codegen", {}, "codegen has not been measured"),
        ("llama", {"hidden_act": "relu"}, "activation relu, and llama.cpp computes"),
        ("gemma2", {"query_pre_attn_scalar": 24}, "query_pre_attn_scalar is 24"),
        ("smollm3", {"no_rope_layers": [1, 0, 1, 1]}, "every fourth layer"),
    ],
)
def test_a_family_that_would_be_wrong_is_refused(tmp_path: Path, model_type: str, changed: dict[str, Any], said: str) -> None:
    encoder = bw.convert(small_model(tmp_path / "base", model_type, **changed), dtype="float32", device="cpu")
    with pytest.raises(UnsupportedFamily, match=said):
        write_gguf(encoder, tmp_path / "x.gguf")


def rows_of(*names: str) -> torch.Tensor:
    """A row for each name, whose one value is the name's place in the alphabet of all names."""
    return torch.tensor([[float(number)] for number, _ in enumerate(names)])


def reordered(change: Any, name: str, names: list[str], config: Any) -> list[str]:
    ((_, value),) = change(name, rows_of(*names), config)
    return [names[int(place)] for place in value[:, 0]]


def test_rotary_pairs_become_neighbors() -> None:
    config: Any = SimpleNamespace(num_attention_heads=2, num_key_value_heads=1)
    # transformers rotates row i of a head with row i + half
    queries = [f"{head}{half}{pair}" for head in "ab" for half in "xy" for pair in "012"]
    found = reordered(interleaved, "layers.0.self_attn.q_proj.weight", queries, config)
    assert found == [f"{head}{half}{pair}" for head in "ab" for pair in "012" for half in "xy"]
    assert reordered(interleaved, "layers.0.self_attn.v_proj.weight", queries, config) == queries


def test_fused_matrices_have_all_queries_before_all_keys() -> None:
    config: Any = SimpleNamespace(num_attention_heads=3)
    rows = [f"{head}{kind}{row}" for head in "abc" for kind in "qkv" for row in "01"]
    found = reordered(grouped_by_kind, "h.0.query_key_value.weight", rows, config)
    assert found == [f"{head}{kind}{row}" for kind in "qkv" for head in "abc" for row in "01"]


@pytest.mark.parametrize(("groups", "new", "multi"), [(2, True, True), (1, False, True), (4, False, False)])
def test_falcon_has_groups_of_queries_with_one_key(groups: int, new: bool, multi: bool) -> None:
    config: Any = SimpleNamespace(
        num_attention_heads=4, num_kv_heads=groups, hidden_size=8, new_decoder_architecture=new, multi_query=multi
    )
    per = 4 // groups
    rows = [f"{g}{kind}{row}" for g in range(groups) for kind in [*(f"q{n}" for n in range(per)), "k", "v"] for row in "01"]
    found = reordered(falcon_queries, "h.0.query_key_value.weight", rows, config)
    assert found == [*(r for r in rows if "q" in r), *(r for r in rows if "k" in r), *(r for r in rows if "v" in r)]


def test_norms_that_store_a_distance_from_one() -> None:
    ones = torch.ones(2)
    for change, name, value in (
        (norm_from_one, "layers.0.input_layernorm.weight", 2.0),
        (norm_from_one, "layers.0.mlp.up_proj.weight", 1.0),
        (norm1p, "layers.0.input_layernorm.weight", 2.0),
        (norm1p, "layers.0.input_layernorm.bias", 1.0),
    ):
        ((_, found),) = change(name, ones, SimpleNamespace())  # type: ignore[arg-type]
        assert found.tolist() == [value] * 2, name
