"""The checks of the vectors catch models that are wrong in one way."""

import pytest
from transformers import MistralConfig

import bothways as bw
from bothways.attention import interface
from bothways.attention.plan import AttentionPlan
from bothways.encoder.proof import vector_checks
from bothways.encoder.proof.doctor import doctor
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


def test_packed_passes_that_leak_are_caught(encoder, monkeypatch):
    """A kernel that forgets the borders between texts."""
    real = interface.execute
    monkeypatch.setattr(interface, "execute", lambda q, k, v, plan, **kw: real(q, k, v, AttentionPlan((plan.total,)), **kw))
    found = failed(doctor(encoder))
    assert found["packing"] == "a text's vector changes when other texts are packed with it"
    assert found["direction"] == "a token of text 1 sees a token of its neighbor, text 2"
    assert found["training direction"] == "in training mode a token of text 2 sees a token of text 1"


def test_what_packing_may_change_is_what_stock_code_changes(encoder, monkeypatch):
    """The allowance is asked for only if vectors differ at all, and for this encoder and batch."""
    asked = []

    def allowance(given, batch):
        asked.append((given, batch.rows))
        return allowed

    monkeypatch.setattr(vector_checks, "allowance", allowance)
    allowed = 1.0
    assert vector_checks.packing(encoder, "packing", False).passed and not asked
    monkeypatch.setattr(vector_checks, "EXACT", -1.0)
    check = vector_checks.packing(encoder, "packing", False)
    assert check.passed and check.sentence.endswith("as closely as its own kernels agree")
    allowed = -1.0
    assert not vector_checks.packing(encoder, "packing", True).passed
    assert asked == [(encoder, 6), (encoder, 3)]


def test_a_window_that_came_back_is_caught(tmp_path):
    encoder = encoder_of(tiny_model(tmp_path / "m", MistralConfig, **{**TINY, "head_dim": 8, "sliding_window": 4}))
    encoder.backbone.config.sliding_window = 3
    found = failed(doctor(encoder))
    assert found["claims"] == "the config has a sliding window of 3 tokens that was not kept"


def test_a_causal_encoder_that_looks_ahead_is_caught(folder, monkeypatch):
    encoder = encoder_of(folder, direction="causal")
    real = interface.execute
    monkeypatch.setattr(interface, "execute", lambda q, k, v, plan, **kw: real(q, k, v, AttentionPlan(plan.lengths), **kw))
    found = failed(doctor(encoder))
    assert found["direction"] == "token 1 sees the later token 2"
    assert found["training direction"].startswith("in training mode token 1 sees token")
