"""Layer cosines against models that transformers loads causal and bidirectional; the encoder comes
back as it was.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, GPTJConfig, MistralConfig, Qwen2Config

import bothways as bw
from bothways.attention.text_config import text_configs, windowed_layers
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError, UnsupportedFamily
from bothways.evaluation.probing.layer_cosines import layer_cosines, running
from tiny import SENTENCES, TINY, tiny_llama, tiny_model

TEXTS = [SENTENCES[0], SENTENCES[3], "Word"]


def reference(folder, ids):
    """Stock eager attention, two loads of one folder; numpy cosines."""
    states = []
    for causal in (True, False):
        model = AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
        model.config.is_causal = causal
        with torch.no_grad():
            out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        states.append([state[0].double().numpy() for state in out.hidden_states[1:]])
    return np.array(
        [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(causal, both)] for causal, both in zip(*states)]
    )


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_equals_two_stock_models(tmp_path, direction):
    folder = tiny_llama(tmp_path / "llama", tokenizer={"add_bos": True}, num_hidden_layers=3)
    encoder = bw.convert(folder, direction=direction, dtype="float32", device="cpu")
    found = layer_cosines(encoder, TEXTS)
    rows = encoder.tokenize(TEXTS)
    expected = np.concatenate([reference(folder, row.ids) for row in rows], axis=1)
    assert found.shape == (3, sum(len(row.ids) for row in rows))
    # float32, another order of additions
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert found.min() < 0.99  # the test would be vacuous if the direction did nothing
    np.testing.assert_allclose(layer_cosines(str(folder), TEXTS[0]), found[:, : len(rows[0].ids)], atol=0.05)


def test_the_last_token_sees_everything_either_way(tmp_path):
    encoder = bw.convert(tiny_llama(tmp_path / "llama"), dtype="float32", device="cpu")
    found = layer_cosines(encoder, TEXTS[0])
    assert found[0, -1] == pytest.approx(1, abs=1e-6)  # in the first layer: its keys are embeddings
    assert found[1, -1] < 1 - 1e-6
    assert found[0, :-1].max() < 1 - 1e-6


WINDOWED = {
    "mistral": (MistralConfig, {"sliding_window": 4}),
    # its layers copy the window when they are built
    "qwen2": (Qwen2Config, {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 0}),
}


def copied(encoder):
    return [getattr(module, "sliding_window", None) for module in encoder.backbone.modules()]


@pytest.mark.parametrize("family", WINDOWED)
@pytest.mark.parametrize("windows", ["lift", "keep"])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_the_encoder_comes_back_as_it_was(tmp_path, direction, windows, family):
    kind, window_fields = WINDOWED[family]
    folder = tiny_model(tmp_path / family, kind, **TINY, **window_fields)
    encoder = bw.convert(folder, direction=direction, windows=windows, dtype="float32", device="cpu")
    before = encoder.encode(TEXTS)
    config = next(text_configs(encoder.backbone))
    fields = copy.deepcopy(vars(config))
    window, copies = windowed_layers(config), copied(encoder)
    other = "causal" if direction == "bidirectional" else "bidirectional"
    with running(encoder, other):
        assert encoder.direction == other
        assert np.abs(encoder.encode(TEXTS) - before).max() > 1e-3
        assert set(windowed_layers(config).values()) == ({4} if other == "causal" else set())
    assert encoder.direction == direction
    assert vars(config) == fields
    assert (windowed_layers(config), copied(encoder)) == (window, copies)
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)
    with pytest.raises(KeyboardInterrupt), running(encoder, other):
        raise KeyboardInterrupt
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)
    assert vars(config) == fields


def test_families_that_run_padded(tmp_path):
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 64}
    folder = tiny_model(tmp_path / "gptj", GPTJConfig, **sizes)
    encoder = bw.convert(folder, dtype="float32", device="cpu")
    assert encoder.execution == "padded"
    found = layer_cosines(encoder, TEXTS[:1])
    np.testing.assert_allclose(found, reference(folder, encoder.tokenize(TEXTS[:1])[0].ids), atol=2e-5)
    assert encoder.execution == "padded"


def test_no_second_direction_and_no_text(tmp_path):
    encoder = bw.convert(tiny_llama(tmp_path / "llama"), dtype="float32", device="cpu")
    with pytest.raises(InputError, match="at least one text"):
        layer_cosines(encoder, [])
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    bert = bw.convert(tiny_model(tmp_path / "bert", BertConfig, **sizes), dtype="float32", device="cpu")
    assert isinstance(bert, Encoder)
    with pytest.raises(UnsupportedFamily, match="no causal direction"):
        layer_cosines(bert, TEXTS)
