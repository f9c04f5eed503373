"""The predicted loss of a rounded layer against the loss of the layer rounded in truth."""

import numpy as np
import torch

import bothways as bw
from bothways.backbone.linears.products import rounded_weight
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
