"""Fingerprints of models: the same for the same, another for whatever could score differently."""

from __future__ import annotations

import copy

import pytest
import torch

import bothways as bw
from bothways.evaluation.model_identity import model_fingerprint
from bothways.search.bm25_ranker import BM25
from tiny import SENTENCES, tiny_llama


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("models") / "base")


def convert(base, **options):
    return bw.convert(base, device="cpu", **{"dtype": "float32", **options})


def test_the_same_model_before_and_after_use_and_loaded_again(base, tmp_path):
    encoder = convert(base)
    first = model_fingerprint(encoder)
    encoder.encode(SENTENCES)
    assert model_fingerprint(encoder) == first == model_fingerprint(convert(base))
    encoder.save(tmp_path / "saved")
    loaded = [model_fingerprint(bw.load(tmp_path / "saved", device="cpu", dtype="float32")) for _ in range(2)]
    assert loaded[0] == loaded[1]


@pytest.mark.parametrize(
    "options",
    [
        {"direction": "causal"},
        {"pooling": "last"},
        {"max_length": 7},
        {"normalize": True},
        {"dtype": "bfloat16"},
        {"prompts": {"query": "Find: "}},
        {"wrapper": ("<", ">")},
    ],
)
def test_every_setting_counts(base, options):
    assert model_fingerprint(convert(base, **options)) != model_fingerprint(convert(base))


def test_trained_weights_count_however_small_the_step(base):
    encoder = convert(base)
    before = model_fingerprint(encoder)
    for name, parameter in encoder.backbone.named_parameters():
        changed = copy.deepcopy(encoder)
        with torch.no_grad():
            changed.get_parameter(f"backbone.{name}").mul_(1 + 1e-6)
        # norms start at 1, whose neighbours in float32 are 6e-8 and 1.2e-7 away: the step is not
        # lost to rounding
        assert model_fingerprint(changed) != before, name
        assert parameter.shape is not None


def test_other_encoders_are_told_by_class_attributes_and_what_they_wrap():
    class Wrapping:
        def __init__(self, module, note="a"):
            self.module, self.note = module, note

    torch.manual_seed(0)
    layer, other = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    prints = [model_fingerprint(Wrapping(*args)) for args in ((layer,), (layer,), (other,), (layer, "b"))]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_the_similarity_of_any_encoder_counts(base):
    class Named(torch.nn.Module):
        similarity_fn_name = property(lambda self: self._named)

        def __init__(self, named):
            super().__init__()
            self._named = named

    assert model_fingerprint(Named("dot")) != model_fingerprint(Named("cosine")) == model_fingerprint(Named(None))
    encoder = convert(base)
    before = model_fingerprint(encoder)
    encoder.options.similarity = "dot"
    assert model_fingerprint(encoder) != before


def test_bm25_is_told_by_its_parameters():
    pytest.importorskip("bm25s", reason="bm25s is not installed (pip install 'bothways[eval]')")
    assert model_fingerprint(BM25()) == model_fingerprint(BM25()) != model_fingerprint(BM25(k1=0.9))
