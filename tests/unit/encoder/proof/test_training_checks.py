"""The checks of training catch a lost plan and a wrong merge."""

import pytest
import torch

import bothways as bw
from bothways.attention import interface
from bothways.attention.plan import AttentionPlan
from bothways.backbone.adapter import lora
from bothways.encoder.proof.doctor import doctor
from tiny import tiny_llama


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


def test_a_plan_that_checkpointing_loses_is_caught(encoder, monkeypatch):
    """Attention that looks the plan up during the layer, as a global would: gone when the backward
    pass recomputes.
    """
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
