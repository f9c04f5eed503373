"""The list of a model's modules is torch's own."""

from __future__ import annotations

from torch import nn

from bothways.attention.all_modules import all_modules
from bothways.attention.stock import evaluation_mode


def test_the_same_modules_in_the_same_order() -> None:
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, nn.ModuleList([nn.Sequential(shared, nn.Tanh()), nn.ModuleDict({"a": nn.GELU()})]), nn.ReLU())
    model.register_module("nothing", None)
    assert all_modules(model) == list(model.modules())


def test_quiet_restores_each_mode() -> None:
    for modes in ((True, True, True), (True, False, True), (False, True, False), (False, False, False)):
        model = nn.Sequential(nn.Dropout(), nn.Dropout())
        for module, mode in zip(model.modules(), modes):
            module.training = mode
        with evaluation_mode(model):
            assert not any(module.training for module in model.modules())
        assert tuple(module.training for module in model.modules()) == modes
