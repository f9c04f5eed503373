"""The predicted loss of a rounded layer against the loss of the layer rounded in truth."""

import numpy as np
import pytest
import torch
from torch import nn

import bothways as bw
from bothways.backbone.linears.products import kernel_levels, rounded_weight
from bothways.encoder.int8 import effects as measuring
from bothways.encoder.int8.effects import measure_effects
from tiny import SENTENCES, tiny_llama


def cosines(a, b):
    a, b = (np.asarray(x, dtype=np.float64) for x in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_effects_predict_the_loss_of_one_rounded_layer(tmp_path):
    encoder = bw.convert(tiny_llama(tmp_path / "llama", initializer_range=0.3), dtype="float32").eval()
    rows = encoder.tokenize(SENTENCES)
    effects = measure_effects(encoder, rows)
    assert effects.groups[0] == [f"layers.0.self_attn.{kind}_proj" for kind in "qkv"]
    with torch.no_grad():
        wanted = encoder(encoder.pack(rows))
        for index in (0, 3, 7):
            held = {name: encoder.backbone.get_submodule(name).weight.data for name in effects.groups[index]}
            for name, weight in held.items():
                whole, scale = rounded_weight(weight)
                encoder.backbone.get_submodule(name).weight.data = whole * scale[:, None]
            lost = 1 - cosines(encoder(encoder.pack(rows)), wanted).mean()
            for name, weight in held.items():
                encoder.backbone.get_submodule(name).weight.data = weight
            assert lost / 3 < effects.of_weights[index].mean() < lost * 3


@pytest.mark.parametrize("kind", ["weights", "inputs"])
def test_effects_are_half_the_square_of_the_movement_of_the_unit_vectors(tmp_path, kind, monkeypatch):
    """Text by text, against a finite difference in float64.

    A hook adds a thousandth of the rounding of a layer's input or of its weight, rounded by hand:
    a row or a weight's row has 127 (or 63) steps of its largest magnitude.
    """
    monkeypatch.setattr(measuring, "DRAWS", 64)
    encoder = bw.convert(tiny_llama(tmp_path / "llama", initializer_range=0.3), dtype="float32").eval()
    rows = encoder.tokenize(SENTENCES)
    effects = measure_effects(encoder, rows)
    precise = bw.convert(tmp_path / "llama", dtype="float32").eval()
    precise.backbone.double()
    step, ratios = 1e-3, []

    def rounded(values, levels):
        scale = values.abs().amax(-1, keepdim=True) / levels
        return (values / scale).round() * scale

    def added(layer, given, out):
        weight = rounded(layer.weight, 127)
        rows = given[0]
        if kind == "weights":
            return out + step * nn.functional.linear(rows, weight - layer.weight)
        return out + step * nn.functional.linear(rounded(rows, kernel_levels()) - rows, weight)

    with torch.no_grad():
        wanted = nn.functional.normalize(precise(precise.pack(rows)).double(), dim=-1)
        for index in (0, 3, 7):
            hooks = [precise.backbone.get_submodule(name).register_forward_hook(added) for name in effects.groups[index]]
            found = nn.functional.normalize(precise(precise.pack(rows)).double(), dim=-1)
            for hook in hooks:
                hook.remove()
            losses = ((found - wanted) / step).square().sum(1).numpy() / 2
            measured = effects.of_weights if kind == "weights" else effects.of_inputs
            ratios.append(measured[index] / losses)
    # A mean of 64 squares has a relative deviation of sqrt(2 / 64) = 0.18.
    assert np.abs(np.concatenate(ratios) - 1).max() < 0.9
    assert 0.9 < np.concatenate(ratios).mean() < 1.1
