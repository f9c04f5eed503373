"""The doctor passes sound encoders and names what is wrong with models that were broken on purpose."""

import pytest
import torch
from transformers import Gemma3TextConfig, GPTJConfig, MistralConfig, StableLmConfig

import bothways as bw
from bothways.attention import interface
from bothways.attention.plan import AttentionPlan
from bothways.backbone.adapter import lora
from bothways.encoder.proof.doctor import Check, Diagnosis, doctor
from tiny import TINY, tiny_llama, tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("base") / "llama", attention_dropout=0.1)


def encoder_of(folder, **options):
    return bw.convert(folder, **{"dtype": "float32", **options})


@pytest.fixture
def encoder(folder):
    return encoder_of(folder)


def failed(diagnosis):
    return {check.name: check.sentence for check in diagnosis.failures}


NAMES = {
    *("claims", "layers", "direction", "padding right", "padding left", "batch of one", "packing", "order", "on disk"),
    *("gradient checkpointing", "training direction", "adapters"),
}


@pytest.mark.parametrize("options", [{}, {"direction": "causal"}, {"dtype": "bfloat16"}, {"pooling": "last"}])
def test_sound_encoders_pass_every_check(folder, options):
    diagnosis = doctor(encoder_of(folder, **options))
    assert diagnosis.ok, str(diagnosis)
    assert {check.name for check in diagnosis} == NAMES
    assert all(check.figure and check.sentence for check in diagnosis)
    assert str(diagnosis).endswith("all 12 checks passed")


def test_quick_leaves_out_training_and_adapters(encoder):
    diagnosis = doctor(encoder, quick=True)
    assert diagnosis.ok and {check.name for check in diagnosis} == NAMES - {
        "gradient checkpointing",
        "training direction",
        "adapters",
    }


SIZES = {"num_hidden_layers": 2, "initializer_range": 0.1}
KINDS = {
    "padded": (
        GPTJConfig,
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 4, "initializer_range": 0.1},
    ),
    "window": (MistralConfig, {**TINY, "head_dim": 8, "sliding_window": 4}),
    "local RoPE": (
        Gemma3TextConfig,
        {**TINY, "head_dim": 8, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "eager elsewhere": (StableLmConfig, TINY),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("windows", ["lift", "keep"])
def test_other_mechanisms_pass_too(kind, windows, tmp_path):
    config, fields = KINDS[kind]
    diagnosis = doctor(encoder_of(tiny_model(tmp_path / "m", config, **fields), windows=windows))
    assert diagnosis.ok, str(diagnosis)
    if windows == "keep" and "sliding_window" in fields:
        assert "a sliding window of 4 tokens is kept" in str(diagnosis)
    if kind == "eager elsewhere":
        assert "eager only, so set it in other loaders" in str(diagnosis)


def test_nothing_of_the_encoder_is_changed(encoder):
    encoder.train()
    encoder.backbone.layers[0].requires_grad_(False)
    torch.manual_seed(5)
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    modules = [(name, type(module), module.training) for name, module in encoder.named_modules()]
    flags = [p.requires_grad for p in encoder.parameters()]
    config, attributes = encoder.backbone.config.to_dict(), set(vars(encoder.backbone))
    random = torch.get_rng_state()
    doctor(encoder)
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    assert [(name, type(module), module.training) for name, module in encoder.named_modules()] == modules
    assert [p.requires_grad for p in encoder.parameters()] == flags
    assert encoder.backbone.config.to_dict() == config and encoder.backbone.config._attn_implementation == interface.NAME
    assert set(vars(encoder.backbone)) == attributes and not encoder.backbone.gradient_checkpointing
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in encoder.parameters())


def test_a_config_that_says_causal_is_caught(encoder):
    encoder.backbone.config.is_causal = True
    found = failed(doctor(encoder))
    assert found["claims"] == "the config says causal, the encoder bidirectional: other loaders follow the config"
    assert (
        found["batch of one"].startswith("through stock eager attention token 1 does not see token")
        and "padding right" in found
    )


def test_layers_that_say_causal_are_caught(encoder):
    encoder.backbone.layers[1].self_attn.is_causal = True
    assert failed(doctor(encoder)) == {"claims": "1 of 2 attention layers carry is_causal=True"}


def test_another_attention_implementation_is_caught(encoder):
    encoder.backbone.set_attn_implementation("sdpa")
    found = failed(doctor(encoder))
    assert found["layers"] == "no layer ran the plan: the attention is 'sdpa', not 'bothways'"
    assert found["direction"].startswith("a token of text 1 sees a token of its neighbor, text 2: no layer ran the plan")
    assert "packing" in found


def test_a_causal_layer_is_named_with_the_token_that_cannot_see(encoder, monkeypatch):
    """All layers run a causal plan behind the encoder's back."""
    real = interface.execute
    monkeypatch.setattr(
        interface, "execute", lambda q, k, v, plan, **kw: real(q, k, v, AttentionPlan(plan.lengths, "causal"), **kw)
    )
    found = failed(doctor(encoder))
    assert found["direction"] == "token 1 does not see token 2"
    assert found["training direction"].startswith("in training mode token 1 does not see token")


def test_a_layer_with_a_mask_of_its_own_is_named(encoder):
    inner = encoder.backbone.layers[1].self_attn
    forward = inner.forward
    mask = torch.ones(1, 1, 500, 500).tril().bool()

    def own(hidden_states, *args, attention_mask=None, **kwargs):
        length = hidden_states.shape[1]
        return forward(hidden_states, *args, attention_mask=mask[..., :length, :length], **kwargs)

    inner.forward = own
    found = failed(doctor(encoder))
    assert found["layers"] == "layer 1 ran a mask of its own"
    assert found["direction"].endswith(": layer 1 ran a mask of its own")


def test_packed_passes_that_leak_are_caught(encoder, monkeypatch):
    """A kernel that forgets the borders between texts."""
    real = interface.execute
    monkeypatch.setattr(interface, "execute", lambda q, k, v, plan, **kw: real(q, k, v, AttentionPlan((plan.total,)), **kw))
    found = failed(doctor(encoder))
    assert found["packing"] == "a text's vector changes when other texts are packed with it"
    assert found["direction"] == "a token of text 1 sees a token of its neighbor, text 2"
    assert found["training direction"] == "in training mode a token of text 2 sees a token of text 1"


def test_a_window_that_came_back_is_caught(tmp_path):
    encoder = encoder_of(tiny_model(tmp_path / "m", MistralConfig, **{**TINY, "head_dim": 8, "sliding_window": 4}))
    encoder.backbone.config.sliding_window = 3
    found = failed(doctor(encoder))
    assert found["claims"] == "the config has a sliding window of 3 tokens that was not kept"


def test_a_padded_model_with_another_implementation_is_caught(folder):
    encoder = encoder_of(folder)
    encoder.execution = "padded"
    assert failed(doctor(encoder, quick=True))["layers"] == "padded passes need eager attention, and the model runs bothways"


def test_a_causal_encoder_that_looks_ahead_is_caught(folder, monkeypatch):
    encoder = encoder_of(folder, direction="causal")
    real = interface.execute
    monkeypatch.setattr(interface, "execute", lambda q, k, v, plan, **kw: real(q, k, v, AttentionPlan(plan.lengths), **kw))
    found = failed(doctor(encoder))
    assert found["direction"] == "token 1 sees the later token 2"
    assert found["training direction"].startswith("in training mode token 1 sees token")


def test_a_plan_that_checkpointing_loses_is_caught(encoder, monkeypatch):
    """Attention that looks the plan up during the layer, as a global would: gone when the backward pass recomputes."""
    real = interface.execute

    def forgetful(q, k, v, plan, **kw):
        active = interface._active.get()
        return real(q, k, v, active or AttentionPlan((plan.total,), "causal"), **kw)

    monkeypatch.setattr(interface, "execute", forgetful)
    found = failed(doctor(encoder))
    assert found == {"gradient checkpointing": "the backward pass recomputes the layers differently: it has lost the plan"}


def test_the_encoders_own_adapter_is_checked_and_left_in_place(encoder):
    lora.attach(encoder.backbone, lora.LoraConfig(r=4))
    for name, parameter in encoder.backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    diagnosis = doctor(encoder)
    assert diagnosis.ok, str(diagnosis)
    assert "the encoder's adapter keeps the vectors" in str(diagnosis)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_merge_with_a_wrong_scale_is_caught(encoder):
    lora.attach(encoder.backbone, lora.LoraConfig(r=4))
    for _, layer in lora.lora_layers(encoder.backbone):
        torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
        delta = layer.get_delta_weight
        layer.get_delta_weight = lambda name, delta=delta: 2 * delta(name)
    assert failed(doctor(encoder)) == {"adapters": "the encoder's adapter changes the vectors when it is merged"}


def test_a_model_that_stops_is_a_finding(encoder, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(interface, "execute", broken)
    found = failed(doctor(encoder, quick=True))
    assert found["packing"] == "the model stopped with RuntimeError: no such kernel"


def test_diagnosis_prints_failures():
    diagnosis = Diagnosis((Check("a", True, "1", "fine"), Check("bb", False, "22", "token 1 does not see token 12")))
    assert not diagnosis.ok and [c.name for c in diagnosis.failures] == ["bb"]
    assert str(diagnosis).splitlines() == [
        "ok    a   1   fine",
        "FAIL  bb  22  token 1 does not see token 12",
        "1 of 2 checks failed",
    ]


@pytest.mark.real
def test_the_real_model_is_proved_in_both_directions():
    for direction in ("bidirectional", "causal"):
        diagnosis = doctor(bw.convert("smollm2-135m", direction=direction, dtype="float32"), quick=True)
        assert diagnosis.ok, str(diagnosis)
