"""The doctor passes sound encoders and names what is wrong with models that were broken on
purpose.
"""

import pytest
import torch
from transformers import Gemma3TextConfig, GPT2Config, GPTJConfig, MistralConfig, StableLmConfig

import bothways as bw
from bothways.attention import interface
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
    (packing,) = (check for check in diagnosis if check.name == "packing")
    if options.get("dtype") == "bfloat16":
        assert 0.999 <= float(packing.figure.removeprefix("cos ")) <= 1
    assert "a random adapter keeps the vectors" in str(diagnosis)


def test_quick_leaves_out_training_and_adapters(encoder):
    diagnosis = doctor(encoder, quick=True)
    assert diagnosis.ok and {check.name for check in diagnosis} == NAMES - {
        "gradient checkpointing",
        "training direction",
        "adapters",
    }


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
    # padding before a text must not ask for a position below the first
    "learned positions": (GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.1}),
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


def test_a_model_that_stops_is_a_finding(encoder, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(interface, "execute", broken)
    found = failed(doctor(encoder, quick=True))
    assert found["packing"] == "the model stopped with RuntimeError: no such kernel"
    long = "no  such\n" * 100

    def wordy(*args, **kwargs):
        raise ValueError(long)

    monkeypatch.setattr(interface, "execute", wordy)
    message = failed(doctor(encoder, quick=True))["order"].removeprefix("the model stopped with ValueError: ")
    assert len(message) == 200 and message.startswith("no such no such")


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
