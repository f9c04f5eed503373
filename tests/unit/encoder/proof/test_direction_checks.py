"""The checks of the direction catch models that are wrong in one way."""

import pytest
import torch

import bothways as bw
from bothways.attention import interface
from bothways.attention.plan import AttentionPlan
from bothways.encoder.proof import direction_checks
from bothways.encoder.proof.doctor import doctor
from bothways.encoder.proof.samples import TEXTS
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


def test_the_tokens_are_those_of_real_texts(encoder, monkeypatch):
    given = []
    real = direction_checks.prove_direction

    def recorded(*args, ids, **options):
        given.append(ids.tolist())
        return real(*args, ids=ids, **options)

    monkeypatch.setattr(direction_checks, "prove_direction", recorded)
    assert doctor(encoder, quick=True).ok
    first, second = (encoder.tokenize([text])[0].ids for text in TEXTS[:2])
    assert given == [[*first[:6], *second[:3]]]


def test_a_padded_model_with_another_implementation_is_caught(folder):
    encoder = encoder_of(folder)
    encoder.execution = "padded"
    assert failed(doctor(encoder, quick=True))["layers"] == "padded passes need eager attention, and the model runs bothways"
