"""Float32 trained weights under bfloat16 products: types, gradients, and what is left of the
wrapper afterwards.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bothways.backbone.adapter.lora import LoraConfig, attach, lora_layers
from bothways.training.loop import precision
from bothways.training.loop.precision import NumberTypes, autocast, choose
from unit.objectives.small_encoder import make_encoder

BF16 = NumberTypes(torch.bfloat16, torch.bfloat16)


def test_types_of_a_stage() -> None:
    cpu = torch.device("cpu")
    assert choose("float32", cpu, adapter=True) == (torch.float32, torch.float32)
    assert choose("bfloat16", cpu, adapter=True) == (torch.bfloat16, torch.bfloat16)
    assert choose("bfloat16", cpu, adapter=False) == (torch.bfloat16, torch.float32)  # every weight trains: float32
    assert not choose("float32", cpu, adapter=True).autocast


@pytest.mark.parametrize("has", [torch.float32, torch.bfloat16])
def test_auto_asks_the_hardware(monkeypatch, has: torch.dtype) -> None:
    monkeypatch.setattr("bothways.backbone.hardware.auto_dtype", lambda device: has)
    assert precision.choose("auto", torch.device("cpu"), adapter=True).compute == has


def test_products_are_bfloat16_only_inside_the_block() -> None:
    layer = nn.Linear(4, 4)
    x = torch.randn(2, 4)
    with autocast(layer, BF16):
        assert layer(x).dtype == torch.bfloat16
        assert (x @ x.T).dtype == torch.float32  # losses outside the backbone stay wide
    assert layer(x).dtype == torch.float32
    assert "forward" not in vars(layer)
    with autocast(layer, NumberTypes(torch.float32, torch.float32)):
        assert layer(x).dtype == torch.float32


def test_products_have_the_types_of_the_precision() -> None:
    """Not autocast's own type, which is another one on each kind of device."""
    layer = nn.Linear(4, 4)
    with autocast(layer, NumberTypes(torch.float16, torch.float32)):
        assert layer(torch.randn(2, 4)).dtype == torch.float16


def test_adapters_cast_their_input_again_after_the_block() -> None:
    backbone = make_encoder()[0].backbone
    attach(backbone, LoraConfig(r=2))
    layers = [layer for _, layer in lora_layers(backbone)]
    made: list[torch.dtype] = []
    layers[0].register_forward_hook(lambda layer, inputs, output: made.append(output.dtype))
    ids = torch.arange(5)[None]
    with autocast(backbone, BF16):
        backbone(input_ids=ids, use_cache=False)
    assert all(layer.cast_input_dtype_enabled for layer in layers)
    backbone(input_ids=ids, use_cache=False)
    assert made == [torch.bfloat16, torch.float32]


def test_a_pass_without_graph_does_not_cost_the_next_one_its_gradient() -> None:
    layer = nn.Linear(4, 4)
    x = torch.randn(2, 4)
    # a caller's autocast keeps the cache of cast weights alive between the two passes
    with torch.autocast("cpu", dtype=torch.bfloat16), autocast(layer, BF16):
        with torch.no_grad():
            layer(x)
        layer(x).float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(layer.weight.grad, x.sum(0).expand(4, 4), atol=0.05, rtol=0.01)  # bfloat16 rounding
