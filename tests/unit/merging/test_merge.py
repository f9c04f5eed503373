"""Merged encoders: the weights, what chooses them, what is refused, provenance, the command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import bothways as bw
from bothways.errors import BothwaysError, InputError
from bothways.merging import merge as module
from bothways.merging.weights import slerp
from tiny import SENTENCES
from unit.merging.material import child, family
from unit.training.material import TEXTS, recipe, simcse

POOLING = {"mode": "latent_attention", "latents": 4, "heads": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return family(tmp_path_factory.mktemp("merge"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_soup_is_the_mean_of_all_weights(place, tmp_path):
    models = [place / name for name in "abc"]
    encoder = bw.merge(models, tmp_path / "soup", weights=[2, 1, 1])
    states = [weights(model) for model in models]
    for name, tensor in weights(tmp_path / "soup").items():
        expected = sum(share * state[name].double() for share, state in zip((0.5, 0.25, 0.25), states))
        torch.testing.assert_close(tensor.double(), expected, atol=1e-7, rtol=1e-6)
    facts = encoder.provenance["merge"]
    assert [(parent["name"], parent["weight"]) for parent in facts["parents"]] == [("a", 0.5), ("b", 0.25), ("c", 0.25)]
    assert encoder.prompts == {"query": "Find:\n"}
    assert encoder.encode(list(SENTENCES[:2])).shape == (2, encoder.dimension)


@pytest.mark.parametrize(
    ("first", "second", "kind"), [("bfloat16", "bfloat16", torch.bfloat16), ("bfloat16", "float32", torch.float32)]
)
def test_the_type_of_the_models_stays(place, tmp_path, first, second, kind):
    for name, dtype in (("a", first), ("b", second)):
        bw.load(place / name, dtype="float32").save(tmp_path / name, dtype=dtype)
    bw.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    states = [weights(tmp_path / name) for name in "ab"]
    for name, tensor in weights(tmp_path / "out").items():
        # once rounded, from a sum in float64
        expected = ((states[0][name].double() + states[1][name].double()) / 2).float().to(kind)
        assert tensor.dtype == kind and torch.equal(tensor, expected)


def test_slerp_goes_between_two(place, tmp_path):
    bw.merge([place / "a", place / "b"], tmp_path / "out", method="slerp", t=0.3)
    one, other = weights(place / "a"), weights(place / "b")
    for name, tensor in weights(tmp_path / "out").items():
        torch.testing.assert_close(tensor, slerp(one[name], other[name], 0.3))


def test_a_greedy_soup_takes_what_does_not_lower_the_metric(place, tmp_path, monkeypatch):
    """The metric is a function of the first weight: b alone is best, a helps it, c does not."""
    values = {name: float(bw.load(place / name, dtype="float32").backbone.embed_tokens.weight.detach()[0, 0]) for name in "abc"}
    order = sorted(values, key=lambda name: -values[name])
    target = values[order[0]] * 0.5 + values[order[1]] * 0.5  # the mean of the two best

    class Metric:
        name = "distance"

        def __call__(self, encoder) -> float:
            return -abs(float(encoder.backbone.embed_tokens.weight.detach()[0, 0]) - target)

    monkeypatch.setattr(module, "dev_metric", lambda spec: Metric())
    encoder = bw.merge([place / name for name in "abc"], tmp_path / "out", dev="stdlib")
    facts = encoder.provenance["merge"]
    shares = {parent["name"]: parent["weight"] for parent in facts["parents"]}
    assert {shares[order[0]], shares[order[1]], shares[order[2]]} == {0.5, 0.0}
    assert facts["method"] == "greedy"
    assert facts["dev"]["merged"] >= max(facts["dev"]["models"])


def test_a_trained_pooling_is_merged_too(place, tmp_path):
    for seed, name in enumerate("de"):
        child(place / "base", tmp_path / name, seed, pooling=POOLING)
    merged = bw.merge([tmp_path / "d", tmp_path / "e"], tmp_path / "out")
    parents = [bw.load(tmp_path / name, dtype="float32").pooling.state_dict() for name in "de"]
    for name, tensor in merged.pooling.state_dict().items():
        torch.testing.assert_close(tensor, (parents[0][name] + parents[1][name]) / 2)


def test_adapters_of_one_base_and_seeds_of_one_recipe(tmp_path):
    runs = []
    for seed in (1, 2):
        made = recipe(tmp_path, simcse(keep="adapter"), seed=seed)
        bw.train(made, tmp_path / f"run{seed}", texts=TEXTS)
        runs.append(tmp_path / f"run{seed}")
    merged = bw.merge(runs, tmp_path / "out")
    one, other = (bw.load(run, dtype="float32").backbone.state_dict() for run in runs)
    for name, tensor in merged.backbone.state_dict().items():
        torch.testing.assert_close(tensor, (one[name] + other[name]) / 2)
    facts = merged.provenance["merge"]["parents"]
    assert [parent["stages"][0]["seed"] for parent in facts] == [1, 2]
    assert merged.provenance["stages"] == [], "no stage is shared"
    # the same as an adapter, which another soup takes again
    small = bw.merge(runs, tmp_path / "adapter", adapter="cat")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    for name, tensor in small.backbone.state_dict().items():
        torch.testing.assert_close(tensor, merged.backbone.state_dict()[name], atol=1e-6, rtol=1e-5)
    assert bw.load(tmp_path / "adapter").provenance["merge"]["parents"] == facts
    assert bw.merge([tmp_path / "adapter", runs[0]], tmp_path / "again", adapter="cat").prompts == merged.prompts
    rough = bw.merge(runs, tmp_path / "rough", adapter="linear", weights=[1, 0])
    for name, tensor in rough.backbone.state_dict().items():
        torch.testing.assert_close(tensor, one[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ties"}, "method 'ties' does not exist; there are soup, greedy, slerp"),
        ({"method": "greedy"}, "greedy chooses by a dev metric"),
        ({"method": "slerp"}, r"slerp goes between two models \(got 3\)"),
        ({"t": 2.0}, "t must lie in"),
        ({"weights": [1, 2]}, "2 weights for 3 models"),
        ({"weights": [1, 2, 3], "dev": "stdlib"}, "weights belong to a soup"),
        ({"adapter": "svd"}, "adapter 'svd' does not exist; there are cat, linear"),
        ({"adapter": "linear", "dev": "stdlib"}, "use adapter cat, or leave dev out"),
        ({"adapter": "cat"}, "holds no adapter"),
    ],
)
def test_options_that_do_not_fit_are_refused(place, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        bw.merge([place / name for name in "abc"], tmp_path / "out", **options)
    with pytest.raises(InputError, match="needs at least two models"):
        bw.merge([place / "a"], tmp_path / "out")


def test_a_result_that_is_not_sound_is_an_error(place, tmp_path, monkeypatch):
    class Ill:
        ok = False

        def __str__(self) -> str:
            return "FAIL direction"

    monkeypatch.setattr(module, "doctor", lambda encoder, quick: Ill())
    with pytest.raises(BothwaysError, match="is not sound"):
        bw.merge([place / "a", place / "b"], tmp_path / "out")


def test_a_merged_encoder_and_an_adapter_of_its_base_are_merged_again(tmp_path):
    stage = simcse(keep="adapter", optim={"lr": 1e-2, "steps": 2})
    for seed in (0, 1):
        bw.train(recipe(tmp_path, stage, seed=seed), tmp_path / f"seed{seed}", texts=TEXTS)
    bw.merge([tmp_path / "seed0", tmp_path / "seed1"], tmp_path / "both")
    encoder = bw.merge([tmp_path / "both", tmp_path / "seed1"], tmp_path / "again", weights=[2, 1])
    parts = [bw.load(tmp_path / f"seed{seed}", dtype="float32").state_dict() for seed in (0, 1)]
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, parts[0][name] / 3 + parts[1][name] * 2 / 3, atol=1e-6, rtol=1e-5)
    first, second = encoder.provenance["merge"]["parents"]
    assert [parent["name"] for parent in first["merge"]["parents"]] == ["seed0", "seed1"]
    assert "merge" not in second
