"""Dropout rates reach the forward pass of every family: in training two passes differ, in
evaluation they are equal.
"""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    BloomConfig,
    DistilBertConfig,
    FalconConfig,
    Gemma2Config,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    GraniteMoeConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    MPNetConfig,
    MptConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    RobertaConfig,
    Starcoder2Config,
)
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from bothways.backbone.adapter.lora import attach
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.dropout import active_dropout, set_dropout
from bothways.errors import InputError

COMMON = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TINY = {**COMMON, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**TINY, "num_key_value_heads": 2}
OLD = {**COMMON, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
CONFIGS = {
    "llama": LlamaConfig(**GROUPED),
    "mistral": MistralConfig(**GROUPED),
    "qwen2": Qwen2Config(**GROUPED),
    "qwen2_moe": Qwen2MoeConfig(**GROUPED, **EXPERTS),
    "gemma2": Gemma2Config(**GROUPED, head_dim=8),
    "granitemoe": GraniteMoeConfig(**GROUPED, num_local_experts=4, num_experts_per_tok=2),
    "phi": PhiConfig(**GROUPED),
    "phi3": Phi3Config(**GROUPED),
    "starcoder2": Starcoder2Config(**GROUPED),
    "gpt2": GPT2Config(**OLD),
    "gptj": GPTJConfig(**OLD, rotary_dim=4),
    "gpt_neo": GPTNeoConfig(**COMMON, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global"], 2]]),
    "gpt_neox": GPTNeoXConfig(**TINY),
    "bloom": BloomConfig(**COMMON, hidden_size=32, n_layer=2, n_head=4),
    "falcon": FalconConfig(**COMMON, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True),
    "mpt": MptConfig(**COMMON, d_model=32, n_heads=4, n_layers=2, max_seq_len=64),
    "opt": OPTConfig(**COMMON, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32),
    "bert": BertConfig(**TINY),
    "roberta": RobertaConfig(**TINY),
    "distilbert": DistilBertConfig(vocab_size=64, dim=32, hidden_dim=48, n_layers=2, n_heads=4),
    "modernbert": ModernBertConfig(**TINY, global_rope_theta=1e4, cls_token_id=1, sep_token_id=2),
}
IDS = torch.arange(3, 15).reshape(1, 12)


def build(name: str = "llama", attention: str = "eager") -> nn.Module:
    torch.manual_seed(0)
    model = AutoModel.from_config(copy.deepcopy(CONFIGS[name]), attn_implementation=attention)
    # weights large enough that attention is far from uniform and every branch matters
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
    return model


def run(model: nn.Module, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(IDS).last_hidden_state


def silent(name: str) -> nn.Module:
    """The family with every rate at 0, so that what the tests see comes from the rate under
    test.
    """
    model = build(name).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    set_dropout(model, attention=0.0, hidden=0.0)
    assert not active_dropout(model)
    assert torch.equal(run(model, 0), run(model, 1))
    return model


@pytest.mark.parametrize("kind", ["attention", "hidden"])
@pytest.mark.parametrize("name", CONFIGS)
def test_passes_differ_in_training_and_agree_in_evaluation(name, kind):
    model = silent(name)
    report = set_dropout(model, **{kind: 0.4})
    assert getattr(report, kind)
    assert not getattr(report, "hidden" if kind == "attention" else "attention")
    assert set(getattr(report, kind)) <= set(active_dropout(model)), "the report names places that hold the rate"
    assert not torch.allclose(run(model, 0), run(model, 1), atol=1e-3)
    assert torch.equal(run(model, 0), run(model, 0)), "the torch seed rules it"
    model.eval()
    assert torch.equal(run(model, 0), run(model, 1))


@pytest.mark.parametrize("name", CONFIGS)
def test_restore_puts_everything_back(name):
    model = build(name)
    config, places, hooks = model.config.to_dict(), active_dropout(model), sum(len(m._forward_hooks) for m in model.modules())
    report = set_dropout(model, attention=0.37, hidden=0.23)
    assert set(active_dropout(model)) > set(places) or active_dropout(model) == places != ()
    report.restore()
    assert model.config.to_dict() == config
    assert active_dropout(model) == places
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks


@pytest.mark.parametrize("name", CONFIGS)
def test_every_layer_has_the_rate(name):
    model = silent(name)
    report = set_dropout(model, attention=0.3, hidden=0.1)
    for places in (report.attention, report.hidden):
        layers = {part for path in places for part in path.split(".") if part.isdigit()}
        assert layers == {"0", "1"}, places


def test_attention_dropout_acts_on_the_probabilities():
    """One eager Llama attention by hand: scores, softmax, dropout of the weights with the same
    seed, values.
    """
    p = 0.3
    model = build("llama").train()
    set_dropout(model, attention=p)
    layer = model.layers[0].self_attn
    states = torch.randn(1, 12, 32)
    rotary = model.rotary_emb(states, torch.arange(12)[None])
    torch.manual_seed(7)
    ours, _ = layer(hidden_states=states, position_embeddings=rotary, attention_mask=None)
    query, key, value = (
        projection(states).unflatten(-1, (-1, 8)).transpose(1, 2) for projection in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    query, key = apply_rotary_pos_emb(query, key, *rotary)
    key, value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    weights = (query @ key.transpose(-1, -2) / 8**0.5).softmax(-1)
    torch.manual_seed(7)
    keep = torch.nn.functional.dropout(torch.ones_like(weights), p)
    assert 0.15 < float((keep == 0).float().mean()) < 0.45  # 576 draws at 0.3: ± 0.02 standard deviation
    expected = layer.o_proj(((weights * keep) @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)  # float32 sums in another order


def test_hidden_dropout_by_hook_thins_the_sub_block_outputs():
    model = build("llama").train()
    set_dropout(model, hidden=0.5)
    layer = model.layers[0].mlp
    states = torch.randn(1, 400, 32)
    plain = layer.down_proj(layer.act_fn(layer.gate_proj(states)) * layer.up_proj(states))
    thinned = layer(states)
    kept = thinned != 0
    assert 0.47 < float(kept.float().mean()) < 0.53  # 12,800 draws at 0.5: six standard deviations of 0.0044
    torch.testing.assert_close(thinned[kept], 2 * plain[kept])  # survivors are scaled by 1 / (1 - p)


def test_hidden_dropout_by_hook_thins_the_attention_output_and_not_its_weights():
    model = build("llama").train()
    layer = model.layers[0].self_attn
    states = torch.randn(1, 400, 32)
    inputs = {"hidden_states": states, "attention_mask": None}
    inputs["position_embeddings"] = model.rotary_emb(states, torch.arange(400)[None])
    plain, plain_weights = layer(**inputs)
    set_dropout(model, hidden=0.5)
    thinned, weights = layer(**inputs)
    kept = thinned != 0
    assert 0.47 < float(kept.float().mean()) < 0.53
    torch.testing.assert_close(thinned[kept], 2 * plain[kept])
    assert torch.equal(weights, plain_weights)


def test_a_shell_around_the_attention_holds_hidden_dropout():
    """MPNetAttention.dropout thins the projected output; MPNetSelfAttention.dropout, inside it, the
    probabilities.
    """
    model = AutoModel.from_config(MPNetConfig(**TINY))
    report = set_dropout(model, attention=0.3, hidden=0.2)
    assert "encoder.layer.0.attention.attn.dropout" in report.attention
    assert "encoder.layer.0.attention.dropout" in report.hidden
    assert model.encoder.layer[0].attention.dropout.p == 0.2


def test_setting_twice_replaces_the_rate():
    model = build("llama").train()
    set_dropout(model, attention=0.5, hidden=0.5)
    set_dropout(model, attention=0.0, hidden=0.0)
    assert torch.equal(run(model, 0), run(model, 1))
    assert all(len(m._forward_hooks) <= 1 for m in model.modules())


def test_under_an_adapter_and_its_own_dropout_stays():
    model = build("llama").train()
    attach(model, LoraConfig(r=2, dropout=0.05))
    report = set_dropout(model, attention=0.3, hidden=0.1)
    assert len(report.attention) == 2
    assert len(report.hidden) == 4
    lora = [m.p for path, m in model.named_modules() if isinstance(m, nn.Dropout) and "lora_dropout" in path]
    assert set(lora) == {0.05}
    assert len(lora) == 14


def test_under_a_peft_wrapper():
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(build("llama"), peft.LoraConfig(target_modules=["q_proj"])).train()
    report = set_dropout(model, attention=0.4)
    assert len(report.attention) == 2
    assert not torch.allclose(run(model, 0), run(model, 1), atol=1e-3)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_replays_the_same_masks(reentrant):
    gradients = []
    for checkpointing in (False, True):
        model = build("llama").train()
        set_dropout(model, attention=0.4, hidden=0.2)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        torch.manual_seed(5)
        model(IDS).last_hidden_state.square().sum().backward()
        gradients.append(model.layers[0].self_attn.q_proj.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-5)


def test_hooks_survive_copy_and_pickle():
    model = build("llama").train()
    set_dropout(model, hidden=0.3)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(run(other, 3), run(model, 3))
        assert not torch.equal(run(other, 3), run(other, 4))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_impossible_rates_are_refused_and_nothing_is_set(rate):
    model = build("llama")
    with pytest.raises(InputError, match="hidden_dropout: must be at least 0 and below 1"):
        set_dropout(model, attention=0.3, hidden=rate)
    assert not active_dropout(model)


def test_a_model_without_a_place_is_refused():
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(InputError, match="attention_dropout: Sequential has no attention dropout"):
        set_dropout(model, attention=0.1)
    with pytest.raises(InputError, match="hidden_dropout: Sequential has none of its own"):
        set_dropout(model, hidden=0.1)
    assert set_dropout(model, attention=0.0, hidden=0.0).hidden == ()


def test_falcon_without_alibi_is_refused_because_it_never_applies_the_rate():
    config = FalconConfig(**COMMON, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, alibi=False)
    with pytest.raises(InputError, match="attention_dropout: FalconModel has no attention dropout"):
        set_dropout(AutoModel.from_config(config), attention=0.1)


def test_a_refused_hidden_rate_takes_the_attention_rate_back():
    class Attention(nn.Module):
        attention_dropout = 0.0

    model = nn.Sequential(Attention())
    with pytest.raises(InputError, match="hidden_dropout"):
        set_dropout(model, attention=0.3, hidden=0.1)
    assert model[0].attention_dropout == 0.0
