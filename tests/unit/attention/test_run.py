"""A packed row gives each text the states that stock transformers gives it alone, whichever way the
family runs.
"""

import pytest
import torch

from bothways.attention.direction import set_direction
from bothways.attention.plan import AttentionPlan
from bothways.attention.probe import measure_execution
from bothways.attention.run import hidden_states, position_offset
from bothways.backbone.family import zoo

LENGTHS = (7, 2, 7)


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gptj", "bloom"])
def test_packed_states_equal_stock_states_of_each_text(family, direction):
    model = zoo.build(family)
    set_direction(model, direction)
    ids = torch.randint(5, 90, (sum(LENGTHS),), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stock = [model(input_ids=text[None], use_cache=False).last_hidden_state[0] for text in ids.split(LENGTHS)]
        execution = measure_execution(model)
        ours = hidden_states(model, ids, AttentionPlan(LENGTHS, direction), execution)
    assert execution == ("padded" if family in ("gptj", "bloom") else "packed")
    torch.testing.assert_close(ours, torch.cat(stock), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_encoder_only_backbones_run_packed_with_their_own_positions(family):
    model = zoo.build(family)
    assert position_offset(model) == (model.embeddings.padding_idx + 1 if family == "roberta" else 0)
    ids = torch.randint(5, 90, (sum(LENGTHS),), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stock = [model(input_ids=text[None]).last_hidden_state[0] for text in ids.split(LENGTHS)]
        assert measure_execution(model) == "packed"
        ours = hidden_states(model, ids, AttentionPlan(LENGTHS), "packed")
    torch.testing.assert_close(ours, torch.cat(stock), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gptj"])
def test_gradients_flow_either_way(family):
    model = zoo.build(family)
    set_direction(model, "bidirectional")
    execution = measure_execution(model)
    plan, ids = AttentionPlan((4, 3)), torch.arange(10, 17)
    embeddings = model.get_input_embeddings().weight
    hidden_states(model, ids, plan, execution)[0].square().sum().backward()
    touched = embeddings.grad.norm(dim=-1) > 0
    assert touched[10:14].all() and not touched[14:17].any(), "the first token learns from its own text and from no other"
