"""Positions that follow the length: each text of a pass has the states that it has alone in a fresh
model, whatever else is in the pass and whatever was read before.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, LlamaConfig, Phi3Config

import bothways as bw
from bothways.attention.direction import set_direction
from bothways.attention.plan import AttentionPlan
from bothways.attention.probe import measure_execution
from bothways.attention.run import hidden_states
from bothways.attention.text_rope import passes_of
from bothways.encoder.batch import TokenRow
from bothways.exports.graphs.padded_encoder import PaddedEncoder, plain_attention
from tiny import TINY, tiny_model

FACTORS = {"short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 5.0]}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dynamic": (
        LlamaConfig,
        {"max_position_embeddings": 16, "rope_parameters": {"rope_theta": 1e4, "rope_type": "dynamic", "factor": 4.0}},
    ),
    "longrope": (
        Phi3Config,
        {
            "original_max_position_embeddings": 16,
            "rope_parameters": {
                "rope_theta": 1e4,
                "rope_type": "longrope",
                "original_max_position_embeddings": 16,
                **FACTORS,
            },
        },
    ),
}
LENGTHS = (7, 40, 16, 17, 3, 25, 40)


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_of_a_fresh_model_and_one_text(tmp_path: Path, kind: str, direction: Any) -> None:
    config, fields = KINDS[kind]
    base = tiny_model(tmp_path / "base", config, **{**TINY, **fields})

    def fresh() -> Any:
        model = AutoModel.from_pretrained(base).eval()
        set_direction(model, direction)
        return model

    ids = torch.randint(5, 300, (sum(LENGTHS),), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        right = torch.cat([fresh()(input_ids=text[None]).last_hidden_state[0] for text in ids.split(LENGTHS)])
        together = fresh()(input_ids=ids[None, :40]).last_hidden_state[0, :7]
        assert (together - right[:7]).abs().max() > 1e-3, "length changes nothing, so this shows nothing"
        model = fresh()
        assert measure_execution(model) == "packed"
        for _ in range(2):  # the second pass follows a longer text
            found = hidden_states(model, ids, AttentionPlan(LENGTHS, direction))
            assert (found - right).abs().max() < 1e-5
            assert "forward" not in vars(model.rotary_emb)
            padded = hidden_states(model, ids, AttentionPlan(LENGTHS, direction), "padded")
            assert (padded - right).abs().max() < 1e-5
        # transformers' own pass afterwards is not changed by ours
        alone = model(input_ids=ids[None, :7]).last_hidden_state[0]
        assert (alone - right[:7]).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_a_model(tmp_path: Path, kind: str) -> None:
    config, fields = KINDS[kind]
    model = AutoModel.from_pretrained(tiny_model(tmp_path / "base", config, **{**TINY, **fields})).eval()
    ids = torch.randint(5, 300, (sum(LENGTHS),), generator=torch.Generator().manual_seed(0)).split(LENGTHS)

    def states(text: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return hidden_states(model, text, AttentionPlan((len(text),), "causal"))

    right = [states(text) for text in ids]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(states, ids * 20))
    assert max(float((each - right[i % len(ids)]).abs().max()) for i, each in enumerate(found)) < 1e-5


def test_texts_that_share_frequencies_share_a_pass(tmp_path: Path) -> None:
    passes = {}
    for kind, (config, fields) in KINDS.items():
        model = AutoModel.from_pretrained(tiny_model(tmp_path / kind, config, **{**TINY, **fields}))
        passes[kind] = passes_of(model, LENGTHS)
    plain = AutoModel.from_pretrained(tiny_model(tmp_path / "plain", LlamaConfig, **TINY))
    assert passes == {"dynamic": [[0, 2, 4], [1, 6], [3], [5]], "longrope": [[0, 2, 4], [1, 3, 5, 6]]}
    assert passes_of(plain, LENGTHS) == [list(range(7))]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_traced_batch_have_their_own_frequencies(tmp_path: Path, kind: str) -> None:
    """One program for all lengths, traced at 5 tokens, below the length that changes them."""
    config, fields = KINDS[kind]
    base = tiny_model(tmp_path / "base", config, **{**TINY, **fields})
    encoder = bw.convert(base, dtype="float32", device="cpu", max_length=None)
    rows = [TokenRow(list(range(5, 5 + length)), [True] * length, [(0, 0)] * length) for length in LENGTHS]
    names, ids = ("input_ids", "attention_mask", "pool_mask"), torch.arange(5, 10).repeat(2, 1)
    shapes = {name: {0: torch.export.Dim("b", min=1), 1: torch.export.Dim("t", min=2)} for name in names}
    with torch.no_grad():
        right = encoder(encoder.pack(rows))
        with plain_attention(encoder):
            module = PaddedEncoder(encoder).eval()
            mask = torch.ones_like(ids)
            program = torch.export.export(module, (ids, mask, mask.clone()), dynamic_shapes=shapes).module()
            before = {name: value.clone() for name, value in encoder.backbone.named_buffers()}
            for chosen in (range(len(LENGTHS)), (0, 4), (1, 6), (5,)):
                length = max(LENGTHS[number] for number in chosen)
                given = torch.stack([torch.arange(5, 5 + length)] * len(chosen))
                mask = (torch.arange(length) < torch.tensor([LENGTHS[number] for number in chosen])[:, None]).long()
                for run in (program, module):
                    found = run(given * mask, mask, mask.clone())[-1]
                    assert (found - right[list(chosen)]).abs().max() < 1e-5
    assert all(torch.equal(value, before[name]) for name, value in encoder.backbone.named_buffers())
    rotary: Any = encoder.backbone.rotary_emb
    assert "forward" not in vars(rotary)


def test_gradients_pass(tmp_path: Path) -> None:
    config, fields = KINDS["longrope"]
    model = AutoModel.from_pretrained(tiny_model(tmp_path / "base", config, **{**TINY, **fields}))
    set_direction(model, "bidirectional")
    measure_execution(model)
    states = hidden_states(model.train(), torch.arange(5, 5 + 30), AttentionPlan((5, 25), "bidirectional"))
    states.square().mean().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())
