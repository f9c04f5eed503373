"""The bridge to transformers: a plan reaches every layer, survives checkpointing, and padded
callers get explicit masks.
"""

import pytest
import torch
from torch import nn
from transformers import AutoModel, Gemma2Config, GptOssConfig, LlamaConfig, MistralConfig, Qwen2MoeConfig

from bothways.attention.interface import NAME, LayerMask, attention, plan_mask, recording, using
from bothways.attention.plan import AttentionPlan

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "initializer_range": 0.3,
}


def build(kind=LlamaConfig, **config):
    torch.manual_seed(0)
    return AutoModel.from_config(kind(**{**SMALL, **config}), attn_implementation=NAME).eval()


def run(model, ids, plan):
    with using(plan):
        return model(input_ids=ids[None], position_ids=plan.position_ids()[None], use_cache=False).last_hidden_state[0]


def test_every_layer_runs_the_plan_and_nothing_remains_afterwards():
    model, plan = build(), AttentionPlan((5, 3))
    with torch.no_grad(), recording() as log:
        run(model, torch.arange(8), plan)
        assert [executed is plan for executed, _ in log] == [True] * 3
        model(input_ids=torch.arange(8)[None], use_cache=False)
    assert [executed for executed, _ in log[3:]] == [None] * 3


@pytest.mark.parametrize("kind", [MistralConfig, Qwen2MoeConfig])
def test_a_layers_window_comes_with_its_mask(kind):
    """Qwen2-MoE does not tell its attention function about the window; the mask is what eager and
    SDPA obey.
    """
    windowed = {"sliding_window": 2}
    if kind is Qwen2MoeConfig:
        sizes = {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 2, "num_experts_per_tok": 1}
        windowed |= {"use_sliding_window": True, "max_window_layers": 2, **sizes}
    model, plan = build(kind, **windowed), AttentionPlan((6, 4), "causal")
    ids = torch.arange(10)
    with torch.no_grad(), recording() as log:
        packed = run(model, ids, plan)
        assert 2 in {window for _, window in log}
        model.set_attn_implementation("eager")
        alone = torch.cat([model(input_ids=text[None], use_cache=False).last_hidden_state[0] for text in ids.split([6, 4])])
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "extras"),
    [
        (LlamaConfig, {}),
        (Gemma2Config, {"attn_logit_softcapping": 2.0, "head_dim": 8}),
        (GptOssConfig, {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8, "sliding_window": 3}),
    ],
    ids=["plain", "softcap", "sinks"],
)
def test_a_padded_batch_gives_the_states_of_eager(kind, extras):
    """Loaders that are not ours pass padded batches to the attention that `set_attn_implementation`
    left behind.
    """
    model = build(kind, **extras)
    for layer in model.layers:
        if hasattr(layer.self_attn, "sinks"):
            # far from each other, so that each head's own sink counts
            layer.self_attn.sinks.data = torch.linspace(-1, 2, 4)
    ids, mask = torch.arange(14).view(2, 7), torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    states = []
    for implementation in (NAME, "eager"):
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            states.append(model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[mask.bool()])
    torch.testing.assert_close(*states, atol=1e-5, rtol=1e-5)


def test_gradient_checkpointing_keeps_the_plan():
    """The backward pass recomputes the layers long after `using` has ended."""
    model, plan, ids = build(attention_dropout=0.4).train(), AttentionPlan((5, 3)), torch.arange(8)
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.zero_grad()
        torch.manual_seed(3)
        states = run(model, ids, plan)
        with recording() as log:
            states.square().sum().backward()
        recomputed = [executed is plan for executed, _ in log]
        assert recomputed == ([True] * 3 if checkpointing else []), "checkpointing is not what is being tested"
        found.append((states.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert torch.equal(found[0][0], found[1][0])
    for one, other in zip(found[0][1], found[1][1]):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_without_a_plan_the_mask_is_always_drawn():
    """No shortcut for batches without padding: they lead to SDPA's own causality."""
    mask = plan_mask(1, 4, 4, attention_mask=None, allow_is_causal_skip=True)
    assert mask.dtype == torch.bool and torch.equal(mask[0, 0], torch.ones(4, 4).tril().bool())


def test_left_padding_leaves_no_nan():
    model = build()
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    with torch.no_grad():
        states = model(input_ids=torch.arange(8).view(2, 4), attention_mask=mask, use_cache=False).last_hidden_state
    assert states.isfinite().all()


@pytest.mark.parametrize("causal", [True, False])
def test_padded_batches_equal_stock_attention(causal):
    model = build()
    model.config.is_causal = causal
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    ids = torch.arange(8).view(2, 4)
    with torch.no_grad():
        ours = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[mask.bool()]
        model.set_attn_implementation("eager")
        theirs = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[mask.bool()]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_row_of_another_length_is_refused():
    q = torch.zeros(1, 2, 5, 8)
    with pytest.raises(NotImplementedError, match="packed row of 4 tokens"):
        attention(nn.Identity(), q, q, q, LayerMask(AttentionPlan((4,))))


def test_positional_biases_are_refused():
    q = torch.zeros(1, 2, 4, 8)
    with pytest.raises(NotImplementedError, match="positional bias"):
        attention(nn.Identity(), q, q, q, LayerMask(AttentionPlan((4,))), position_bias=torch.zeros(1))


def test_a_layer_mask_gives_itself_for_the_slice_that_keeps_everything_and_no_other():
    mask = LayerMask(AttentionPlan((4,)))
    assert mask[:, :, slice(-0, None), :] is mask
    with pytest.raises(TypeError, match="not a tensor"):
        mask[:, 0]
