"""The list of a model's modules is torch's own."""

from __future__ import annotations

from torch import nn

from bothways.attention.all_modules import all_modules


def test_the_same_modules_in_the_same_order() -> None:
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, nn.ModuleList([nn.Sequential(shared, nn.Tanh()), nn.ModuleDict({"a": nn.GELU()})]), nn.ReLU())
    model.register_module("nothing", None)
    assert all_modules(model) == list(model.modules())
