"""The model as a plain loader runs it, and everything restored afterwards."""

import pytest
import torch
from torch import nn

from bothways.attention.direction import set_direction
from bothways.attention.interface import NAME
from bothways.attention.probe import measure_execution
from bothways.attention.stock import distance, evaluation_mode, stock
from bothways.backbone.family import zoo


def bidirectional(family="llama"):
    model = zoo.build(family)
    set_direction(model, "bidirectional")
    return model, measure_execution(model)


def test_stock_comes_back_to_where_it_was():
    model, _ = bidirectional("stablelm")
    ids = torch.arange(10, 18)[None]
    with torch.no_grad():
        before = model(input_ids=ids, use_cache=False).last_hidden_state[0]
        with stock(model, "sdpa"):
            assert distance(model(input_ids=ids, use_cache=False).last_hidden_state[0], before) > 0.1, "SDPA is causal here"
        assert torch.equal(model(input_ids=ids, use_cache=False).last_hidden_state[0], before)
    assert model.config._attn_implementation == NAME
    assert not any(m.is_causal for m in model.modules() if hasattr(m, "is_causal"))


def test_distance_of_nan_is_infinite():
    assert distance(torch.full((1, 2), float("nan")), torch.ones(1, 2)) == float("inf")


def test_quiet_restores_each_mode() -> None:
    for modes in ((True, True, True), (True, False, True), (False, True, False), (False, False, False)):
        model = nn.Sequential(nn.Dropout(), nn.Dropout())
        for module, mode in zip(model.modules(), modes):
            module.training = mode
        with evaluation_mode(model):
            assert not any(module.training for module in model.modules())
        assert tuple(module.training for module in model.modules()) == modes


@pytest.mark.parametrize(("family", "eager"), [("stablelm", True), ("nemotron", True), ("llama", False), ("gemma2", False)])
def test_families_that_turn_causal_elsewhere_are_found(family, eager):
    report = set_direction(zoo.build(family), "bidirectional")
    assert report.needs_eager is eager
    assert any("eager" in note for note in report.notes) is eager
