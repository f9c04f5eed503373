"""An encoder in int8 against float64 arithmetic on its rounded weights, and what it refuses."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPTJConfig

import bothways as bw
from bothways.backbone.linears.products import rounded_weight
from bothways.backbone.linears.shared_input import SharedLinear
from bothways.encoder import measured
from bothways.encoder.int8 import choice
from bothways.encoder.int8 import quantize as quantizing
from bothways.encoder.int8.quantize import quantize
from bothways.errors import InputError
from bothways.exports.graphs.exported import load
from tiny import SENTENCES, tiny_llama, tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("base") / "llama", initializer_range=0.3)


@pytest.fixture(scope="module")
def saved(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("saved") / "encoder"
    bw.convert(folder, dtype="float32").save(place)
    return place


def cosines(a, b):
    a, b = (np.asarray(x, dtype=np.float64) for x in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_load_in_int8_keeps_the_vectors_and_says_so(saved):
    wanted = bw.load(saved, dtype="float32").encode(SENTENCES)
    encoder = bw.load(saved, quantize="int8", calibration=SENTENCES[:4])
    assert encoder.quantized.ok and encoder.dtype == torch.float32
    assert any(isinstance(module, SharedLinear) for module in encoder.backbone.modules())
    found = cosines(encoder.encode(SENTENCES), wanted)
    assert found.mean() > 0.995 and found.min() > 0.98
    assert found.max() < 1 - 1e-9  # something was rounded
    assert "mean" in str(encoder.quantized) and "MB" in str(encoder.quantized)


def test_a_later_process_measures_no_more(saved, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("BOTHWAYS_MEASURED", "1")
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path))
    first = bw.load(saved, quantize="int8", calibration=SENTENCES[:4])
    wanted = first.encode(SENTENCES)
    (stored,) = (tmp_path / "measured").glob("int8-*")

    def again():
        encoder = bw.load(saved, quantize="int8", calibration=SENTENCES[:4])
        assert encoder.quantized == first.quantized
        assert encoder.encode(SENTENCES).tobytes() == wanted.tobytes()

    with monkeypatch.context() as later:
        later.setattr(quantizing, "measure_effects", lambda *_: pytest.fail("measured again"))
        again()
        assert caplog.text == ""
        with pytest.raises(pytest.fail.Exception):
            bw.load(saved, quantize="int8", calibration=SENTENCES[4:])  # other texts are another measurement
    whole = json.loads(stored.read_text())
    value = {**whole["value"], "again": [0.5] * 3}
    for text, reason in (
        (stored.read_text()[:-9], "is damaged"),
        (json.dumps({**whole, "value": value}), "is damaged"),
        (json.dumps({"sha256": measured._digest(value), "value": value}), "does not fit the vectors of this process"),
    ):
        caplog.clear()
        stored.write_text(text)
        again()
        assert reason in caplog.text and json.loads(stored.read_text()) == whole


@pytest.mark.parametrize("way", [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))], ids=["copy", "pickle"])
def test_copies_give_the_same_vectors_and_are_independent(saved, way):
    encoder = bw.load(saved, quantize="int8")
    wanted = encoder.encode(SENTENCES)
    made = way(encoder)
    assert made.quantized == encoder.quantized
    assert (made.encode(SENTENCES) == wanted).all()
    for module in encoder.backbone.modules():
        if isinstance(module, SharedLinear):
            module.shared.product.scale.zero_()
    assert (made.encode(SENTENCES) == wanted).all() and np.abs(encoder.encode(SENTENCES) - wanted).max() > 1e-3
    assert (way(made).encode(SENTENCES) == wanted).all()  # a copy of a copy


def test_two_terms_compute_what_the_rounded_weights_give_in_float64(folder, monkeypatch):
    monkeypatch.setattr(choice, "choose", lambda effects, mean, most, costs: ["two"] * len(effects.groups))
    encoder = bw.convert(folder, dtype="float32")
    quantize(encoder)
    plain = bw.convert(folder, dtype="float32")
    plain.backbone.double()
    for module in plain.backbone.modules():
        if isinstance(module, torch.nn.Linear):
            whole, scale = rounded_weight(module.weight.detach().float())
            module.weight.data = whole.double() * scale[:, None].double()
    assert cosines(encoder.encode(SENTENCES), plain.encode(SENTENCES)).min() > 0.99999


def test_the_doctor_proves_an_encoder_in_int8(saved):
    diagnosis = bw.doctor(bw.load(saved, quantize="int8"))
    assert diagnosis.ok, str(diagnosis)
    names = {check.name for check in diagnosis}
    assert "int8" in names and "adapters" not in names
    assert "sdpa" in next(check.sentence for check in diagnosis if check.name == "batch of one")


def test_the_doctor_fails_an_encoder_in_int8_that_lost_its_vectors(saved):
    encoder = bw.load(saved, quantize="int8")
    layer = next(m for m in encoder.backbone.modules() if isinstance(m, SharedLinear))
    layer.shared.product.scale.mul_(-1)
    assert not bw.doctor(encoder).ok


def test_padded_families_are_quantized_too(tmp_path):
    config = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 4, "initializer_range": 0.1}
    encoder = bw.convert(tiny_model(tmp_path / "gptj", GPTJConfig, **config), dtype="float32")
    wanted = encoder.encode(SENTENCES)
    assert encoder.execution == "padded"
    quantize(encoder)
    assert cosines(encoder.encode(SENTENCES), wanted).min() > 0.98


def test_refusals_are_one_clear_line(saved, folder, tmp_path):
    cases = [
        ({"quantize": "int4"}, "did you mean 'int8'.*got 'int4'"),
        ({"quantize": "int8", "device": "cuda"}, "runs on a CPU, not on cuda"),
        ({"quantize": "int8", "dtype": "bfloat16"}, "from float32, not from bfloat16"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            load(saved, **options)
    encoder = load(saved, quantize="int8")
    with pytest.raises(InputError, match="in int8 already"):
        quantize(encoder)
    with pytest.raises(InputError, match="save: the encoder is in int8"):
        encoder.save(tmp_path / "again")
    with pytest.raises(InputError, match="in bfloat16; load it with"):
        quantize(bw.convert(folder, dtype="bfloat16"))
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
    with pytest.raises(InputError, match="gpt2 has no linear layers"):
        quantize(bw.convert(tiny_model(tmp_path / "gpt2", GPT2Config, **sizes), dtype="float32"))


def test_the_report_counts_weights_memory_and_the_worst_text() -> None:
    forms: list = [(["a.q", "a.k"], "one"), (["b.up"], "two"), (["c.down"], "float32")]
    account = quantizing.Account(forms, [50, 30, 20], 4_000_000, 1_000_000, [0.999, 0.985], "short", 127)
    told = str(account)
    assert "50% of the weights with one term, 30% with two of the input" in told and "20% in float32" in told
    assert "4 MB became 1 MB" in told and "mean 0.9920, least 0.9850 ('short')" in told and "kept in float32: c.down" in told
