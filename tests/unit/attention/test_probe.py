"""The measurements find what is there: on toy functions with known influence, and on models broken
on purpose.
"""

import pytest
import torch
from transformers import AutoModel, MistralConfig

from bothways.attention.direction import set_direction
from bothways.attention.interface import NAME
from bothways.attention.plan import AttentionPlan
from bothways.attention.probe import explain_execution, measure_execution, prove_direction, reach_matrix
from bothways.attention.stock import needs_eager
from bothways.backbone.family import zoo


def bidirectional(family="llama"):
    model = zoo.build(family)
    set_direction(model, "bidirectional")
    return model, measure_execution(model)


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_reach_of_a_known_mixing(direction, window):
    """States that are masked sums of one-hot tokens react exactly where the mask is true."""
    seen = AttentionPlan((5, 3), direction).dense(window=window)

    def run(ids):
        return seen.float() @ torch.nn.functional.one_hot(ids, 50).float()

    ids = torch.arange(8)
    assert torch.equal(reach_matrix(run, ids, ids + 20), seen)


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("family", ["llama", "gptj"])
def test_direction_is_proved(family, direction):
    model = zoo.build(family)
    set_direction(model, direction)
    proof = prove_direction(model, measure_execution(model), direction)
    assert proof.ok and not proof.sentence
    assert torch.equal(proof.reach, proof.plan.dense())


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_pairs_beyond_a_kept_window_are_not_judged(direction):
    """One layer, so nothing passes on from token to token."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 99}
    torch.manual_seed(0)
    model = AutoModel.from_config(MistralConfig(num_hidden_layers=1, sliding_window=3, initializer_range=0.3, **sizes)).eval()
    set_direction(model, direction, windows="keep")
    proof = prove_direction(model, measure_execution(model), direction)
    assert proof.ok
    assert torch.equal(proof.reach, proof.plan.dense(window=3)) and not torch.equal(proof.reach, proof.plan.dense())


def test_a_causal_model_is_not_proved_bidirectional():
    model = zoo.build("gptj")
    proof = prove_direction(model, "padded", "bidirectional", lengths=(4, 3))
    assert proof.sentence == "token 1 does not see token 2" and len(proof.missing) == 6 + 3 and not proof.leaks


def test_a_bidirectional_model_is_not_proved_causal():
    model, _ = bidirectional("gptj")
    proof = prove_direction(model, "padded", "causal", lengths=(4, 3))
    assert proof.sentence == "token 1 sees the later token 2" and not proof.ok


def test_a_leak_between_texts_is_named():
    """Stock SDPA knows no plan: packed texts see their neighbours."""
    model, _ = bidirectional()
    model.set_attn_implementation("sdpa")
    proof = prove_direction(model, "packed", "bidirectional", lengths=(4, 3))
    assert proof.sentence == "a token of text 1 sees a token of its neighbor, text 2"
    assert len(proof.leaks) == 2 * 4 * 3


def test_execution_is_measured_and_set_up():
    model, execution = bidirectional("llama")
    assert execution == "packed" and model.config._attn_implementation == NAME
    model, execution = bidirectional("bloom")
    assert execution == "padded" and model.config._attn_implementation == "eager"
    assert explain_execution(zoo.build("glm_moe_dsa"))[1].startswith("its layers compute with their mask")


def test_a_layer_without_the_plan_makes_the_family_padded():
    """One attention layer that ignores its mask, as foreign modelling code may."""
    model = zoo.build("llama")
    set_direction(model, "bidirectional")
    inner = model.layers[1].self_attn
    forward = inner.forward
    inner.forward = lambda *args, attention_mask=None, **kwargs: forward(*args, attention_mask=None, **kwargs)
    execution, reason = explain_execution(model)
    assert execution == "padded" and reason == "the plan reached 3 of 4 attention layers"


def test_chunked_attention_is_padded_when_causal():
    model = zoo.build("llama4_text")
    assert explain_execution(model) == ("padded", "plans do not support chunked attention")


def test_half_precision_does_not_change_the_answer():
    model = zoo.build("llama").bfloat16()
    set_direction(model, "bidirectional")
    assert measure_execution(model) == "packed" and not needs_eager(model)
