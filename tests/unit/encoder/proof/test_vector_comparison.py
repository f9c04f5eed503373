"""Vectors of plain transformers, and how far two sets of vectors may be from each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

import bothways as bw
from bothways.attention.stock import evaluation_mode, stock
from bothways.encoder.proof.vector_comparison import (
    COSINE,
    EXACT,
    Difference,
    allowance,
    alone_states,
    compare_vectors,
    is_relative,
    padded_states,
    takes_positions,
)
from tiny import SENTENCES, tiny_llama


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("comparison"))


def encoder(base: Path, dtype: str = "float32") -> bw.Encoder:
    return bw.convert(base, direction="causal", dtype=dtype, device="cpu")


def test_states_are_those_of_plain_transformers(base: Path) -> None:
    model = encoder(base)
    rows = model.tokenize(list(SENTENCES[:3]))
    batch = model.pack(rows)
    plain = AutoModel.from_pretrained(base, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = torch.cat([plain(input_ids=torch.tensor([row.ids])).last_hidden_state[0] for row in rows])
    with evaluation_mode(model), stock(model.backbone, "eager"):
        for states in (
            alone_states(model.backbone, batch),
            padded_states(model.backbone, batch, "right"),
            padded_states(model.backbone, batch, "left"),
        ):
            torch.testing.assert_close(states[: len(expected)], expected, atol=1e-5, rtol=0)
    assert takes_positions(model.backbone)
    assert is_relative(model, batch)


def test_the_measure_depends_on_the_precision(base: Path) -> None:
    a, b = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    exact = compare_vectors(encoder(base), a, b)
    assert (exact.half, round(exact.value, 6), exact.figure) == (False, 0.6, "6.0e-01")
    half = compare_vectors(encoder(base, "bfloat16"), a, b)
    assert (half.half, round(half.value, 6), half.figure) == (True, 0.2, "cos 0.80000")


def test_what_exceeds_a_limit() -> None:
    assert Difference(2 * EXACT, False).exceeds(EXACT) and not Difference(EXACT, False).exceeds(EXACT)
    assert Difference(1.1 * (1 - COSINE), True).exceeds(1.0) and not Difference(0.9 * (1 - COSINE), True).exceeds(0.0)
    assert Difference(float("nan"), False).exceeds(1.0), "NaN is never equal"


def test_half_precision_may_be_off_as_far_as_plain_code_is(base: Path) -> None:
    model = encoder(base)
    batch = model.pack(model.tokenize(list(SENTENCES[:2])))
    assert allowance(model, batch) == 0.0
    half = encoder(base, "bfloat16")
    batch = half.pack(half.tokenize(list(SENTENCES[:2])))
    vectors = []
    with evaluation_mode(half):
        found = allowance(half, batch)
        for implementation in ("eager", "sdpa"):
            with stock(half.backbone, implementation):
                runs = [
                    alone_states(half.backbone, batch),
                    *(padded_states(half.backbone, batch, side) for side in ("right", "left")),
                ]
                vectors += [torch.nn.functional.normalize(half.pool(states, batch).double(), dim=-1) for states in runs]
    noise = max(float((1 - (a * b).sum(-1)).max()) for a in vectors for b in vectors)
    assert 0 < noise < 0.05, "rounding, and no shortcut that is causal"
    assert found == pytest.approx(1.25 * noise + 1 - COSINE, abs=1e-12)
