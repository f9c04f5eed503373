"""Shifted groups and hidden blocks through real models: equal to stock eager attention under the
dense mask of every head.
"""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel, GPTNeoXConfig, LlamaConfig, MistralConfig, Qwen3Config

from bothways.attention import interface
from bothways.attention.direction import set_direction
from bothways.attention.interface import NAME, recording
from bothways.attention.plan import AttentionPlan
from bothways.attention.probe import measure_execution
from bothways.attention.run import hidden_states
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.family import zoo
from bothways.errors import InputError, UnsupportedFamily

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "initializer_range": 0.3,
}
WINDOW = 3
FAMILIES = {
    "llama": (LlamaConfig, {}),
    "llama-9-3": (LlamaConfig, {"hidden_size": 36, "num_attention_heads": 9, "num_key_value_heads": 3}),
    "qwen3": (Qwen3Config, {"head_dim": 8}),
    "gpt_neox": (GPTNeoXConfig, {}),
    "mistral": (MistralConfig, {"sliding_window": WINDOW}),
}
GROUPED = {"lengths": (17, 8), "shifted": ShiftedGroups()}
BLOCKED = {"lengths": (15, 9), "blocks": ((4, 3), (2, 2))}


def build(family, direction, *, dropout=0.0):
    kind, fields = FAMILIES[family]
    torch.manual_seed(0)
    model = AutoModel.from_config(
        kind(**{**SMALL, **fields, "attention_dropout": dropout, "hidden_dropout": 0.0}), attn_implementation=NAME
    )
    set_direction(model, direction, windows="keep")
    return model.train()


def tokens(plan, seed=0):
    return torch.randint(5, 64, (plan.total,), generator=torch.Generator().manual_seed(seed))


def loss(states):
    """Fixed random weights: squares would be constant behind the last norm, and their gradient
    rounding noise.
    """
    return (states * torch.randn(states.shape, generator=torch.Generator().manual_seed(1))).sum()


@pytest.mark.parametrize("pattern", [GROUPED, BLOCKED], ids=["grouped", "blocked"])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients_equal_stock_attention_under_dense_masks(family, direction, pattern):
    model, plan = build(family, direction), AttentionPlan(direction=direction, **pattern)
    ids = tokens(plan)
    window = WINDOW if family == "mistral" else None
    seen = plan.dense_heads(model.config.num_attention_heads, window=window)
    assert not torch.equal(seen[-1], AttentionPlan(plan.lengths, direction).dense(window=window)), "no pattern to be seen"
    found = []
    for ours in (True, False):
        model.zero_grad()
        if ours:
            states = hidden_states(model, ids, plan)
        else:
            model.set_attn_implementation("eager")
            mask = torch.zeros(1, *seen.shape).masked_fill(~seen[None], torch.finfo(torch.float32).min)
            states = model(
                input_ids=ids[None], attention_mask=mask, position_ids=plan.position_ids()[None], use_cache=False
            ).last_hidden_state[0]
        loss(states).backward()
        found.append((states.detach(), model.get_input_embeddings().weight.grad.clone()))
    torch.testing.assert_close(*(states for states, _ in found), atol=2e-5, rtol=1e-5)
    scale = float(found[1][1].abs().max())
    torch.testing.assert_close(*(gradient for _, gradient in found), atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_every_second_layer_shifts_by_its_own_number(direction, monkeypatch):
    model, plan = build("llama", direction), AttentionPlan((17, 8), direction, ShiftedGroups(shift="layers"))
    ids, asked = tokens(plan), []

    def under_dense_masks(q, k, v, plan, *, layer, **_):
        asked.append(layer)
        q, k, v = (t.transpose(0, 1) for t in (q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)))
        scores = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).masked_fill(~plan.dense_heads(4, layer), float("-inf"))
        return (scores.softmax(-1) @ v).transpose(0, 1)

    ours = hidden_states(model, ids, plan)
    monkeypatch.setattr(interface, "execute", under_dense_masks)
    torch.testing.assert_close(ours, hidden_states(model, ids, plan), atol=2e-5, rtol=1e-5)
    assert asked == [0, 1, 2]


def test_attention_is_full_in_evaluation_unless_asked_otherwise():
    model = build("llama", "causal")
    plain = AttentionPlan((17, 8), "causal")
    ids = tokens(plain)
    with torch.no_grad():
        trained = hidden_states(model, ids, AttentionPlan((17, 8), "causal", ShiftedGroups()))
        model.eval()
        full = hidden_states(model, ids, plain)
        assert torch.equal(hidden_states(model, ids, AttentionPlan((17, 8), "causal", ShiftedGroups())), full)
        kept = hidden_states(model, ids, AttentionPlan((17, 8), "causal", ShiftedGroups(at_test=True)))
    torch.testing.assert_close(kept, trained, atol=1e-6, rtol=1e-6)
    assert (kept - full).abs().max() > 0.01


@pytest.mark.parametrize("pattern", [GROUPED, BLOCKED], ids=["grouped", "blocked"])
def test_gradient_checkpointing_keeps_the_pattern(pattern):
    model, plan = build("llama", "causal", dropout=0.4), AttentionPlan(direction="causal", **pattern)
    ids, found = tokens(plan), []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.zero_grad()
        torch.manual_seed(3)
        states = hidden_states(model, ids, plan)
        with recording() as log:
            loss(states).backward()
        assert [executed is plan for executed, _ in log] == ([True] * 3 if checkpointing else [])
        found.append((states.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert torch.equal(found[0][0], found[1][0])
    for one, other in zip(found[0][1], found[1][1]):
        torch.testing.assert_close(one, other, atol=1e-5 * float(one.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("pattern", ["grouped", "blocked"])
def test_a_text_does_not_know_its_neighbours(pattern, direction):
    model, lengths = build("llama", direction), (17, 9, 9, 1)

    def plan(of):
        if pattern == "grouped":
            return AttentionPlan(of, direction, ShiftedGroups())
        return AttentionPlan(of, direction, blocks=tuple(() if n == 1 else (3, 2) for n in of))

    ids = tokens(plan(lengths))
    with torch.no_grad():
        packed = hidden_states(model, ids, plan(lengths))
        alone = torch.cat([hidden_states(model, text, plan((len(text),))) for text in ids.split(lengths)])
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shift", ["heads", "layers", "all", "none"])
def test_a_future_token_never_changes_an_earlier_state(shift):
    """Through all layers, for any length; the rolled form fails at once."""
    model = build("llama", "causal")
    for wrap, leaks in (("none", False), ("roll", shift != "none")):
        for length in (8, 13):
            plan = AttentionPlan((length,), "causal", ShiftedGroups(shift=shift, wrap=wrap))
            ids = tokens(plan)
            with torch.no_grad():
                base = hidden_states(model, ids, plan)
                leaked = False
                for changed in range(1, length):
                    other = ids.clone()
                    other[changed] = 5 + (ids[changed] - 4) % 59
                    moved = (hidden_states(model, other, plan) - base).abs().amax(-1) > 1e-4
                    assert moved[changed]
                    leaked |= bool(moved[:changed].any())
            assert leaked == leaks


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "mistral"])
def test_each_block_has_the_states_it_has_alone(family, direction):
    """Summarise states with and without the predict block, predict states with and without the
    summarise block, and the text.
    """
    model, text, first, second = build(family, direction), 11, 4, 3
    ids = tokens(AttentionPlan((text + first + second,)))
    both = AttentionPlan((len(ids),), direction, blocks=((first, second),))
    with torch.no_grad():
        states = hidden_states(model, ids, both)
        summarise = hidden_states(model, ids[: text + first], AttentionPlan((text + first,), direction, blocks=((first,),)))
        rest = torch.cat([ids[:text], ids[text + first :]])
        predict = hidden_states(model, rest, AttentionPlan((text + second,), direction, blocks=((second,),)))
        alone = hidden_states(model, ids[:text], AttentionPlan((text,), direction))
    torch.testing.assert_close(states[: text + first], summarise, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[text + first :], predict[text:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[:text], alone, atol=1e-5, rtol=1e-5)
    if direction == "causal":  # one suffix needs no blocks: fine-tuning and every loader run it as plain text
        with torch.no_grad():
            plain = hidden_states(model, rest, AttentionPlan((text + second,), "causal"))
        torch.testing.assert_close(states[text + first :], plain[text:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["gptj", "bloom"])
def test_families_that_run_padded_batches_take_causal_blocks_and_refuse_what_they_cannot_do(family):
    model = zoo.build(family)
    assert measure_execution(model) == "padded"
    plan = AttentionPlan((12, 7), "causal", blocks=((3, 2), (2, 2)))
    ids = torch.randint(5, 90, (plan.total,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = hidden_states(model, ids, plan, "padded")
        first = model(input_ids=ids[None, :10], use_cache=False).last_hidden_state[0]
        second = model(input_ids=torch.cat([ids[:7], ids[10:12]])[None], use_cache=False).last_hidden_state[0]
    torch.testing.assert_close(states[:10], first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[10:12], second[7:], atol=1e-5, rtol=1e-5)
    grouped = AttentionPlan((12, 7), "causal", ShiftedGroups())
    with torch.no_grad():
        full = hidden_states(model, ids, AttentionPlan((12, 7), "causal"), "padded")
        assert torch.equal(hidden_states(model, ids, grouped, "padded"), full)
    with pytest.raises(UnsupportedFamily, match=f"{family}: shifted groups cannot be trained"):
        hidden_states(model.train(), ids, grouped, "padded")
    set_direction(model, "bidirectional")
    with pytest.raises(UnsupportedFamily, match=f"{family}: a bidirectional text cannot be made blind"):
        hidden_states(model, ids, AttentionPlan((12, 7), blocks=((3, 2), (2, 2))), "padded")


def test_groups_that_wrap_refuse_a_model_with_windows():
    model = build("mistral", "causal")
    plan = AttentionPlan((16,), "causal", ShiftedGroups(wrap="roll"))
    with pytest.raises(InputError, match="this model's sliding window of 3 tokens"):
        hidden_states(model, tokens(plan), plan)
