"""A pooling with parameters in training: whole beside LoRA, through the gradient cache, stopped and
resumed, saved and read back.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import bothways as bw
from bothways.backbone.adapter.lora import attach
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.dropout import set_dropout
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.evaluation import devmetric
from bothways.losses.infonce import info_nce
from bothways.objectives.gradcache import cached_step
from bothways.objectives.seeding import pass_seed
from bothways.pooling import PoolingConfig
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from tiny import SENTENCES
from unit.objectives.small_encoder import make_encoder
from unit.training.material import TEXTS, recipe, simcse, state

LATENT = {"mode": "latent_attention", "latents": 6, "heads": 2, "head_width": 8}
SELF = {"mode": "self_attention", "heads": 2, "head_width": 8}
PAPER = {"mode": "latent_attention", "latents": 6, "heads": 4, "form": "paper"}
EVERY = pytest.mark.parametrize("pooling", [LATENT, PAPER, SELF], ids=["latent", "paper", "self"])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pooling_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "1_AttentionPooling" / "model.safetensors")


def dropping(pooling: dict[str, Any]) -> Encoder:
    """A LoRA adapter under a trained pooling in float64, with dropout in attention and adapter."""
    encoder, _ = make_encoder()
    attach(encoder.backbone, LoraConfig(r=2, dropout=0.2))
    with torch.no_grad():
        for name, parameter in encoder.backbone.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    encoder.pooling = PoolingConfig.of(pooling).build(32)
    set_dropout(encoder.backbone, attention=0.3)
    return encoder.double().train()


@EVERY
@pytest.mark.parametrize("kept", [0, 40, 10**6])
def test_cached_gradients_equal_plain_ones_with_dropout(pooling: dict[str, Any], kept: int) -> None:
    def loss(vectors):
        query, positive = vectors.chunk(2)
        result = info_nce(query, positive, torch.arange(len(query)))
        return result.total * 0.1, result

    results = []
    for cached in (False, True):
        encoder = dropping(pooling)
        rows = encoder.tokenize(list(SENTENCES))
        passes = [encoder.pack(rows[i : i + 2], fill_to=40) for i in (0, 2, 4, 6)]
        if cached:
            cached_step(encoder, passes, loss, graph_tokens=kept, seed=1, backward=torch.Tensor.backward)
        else:
            vectors = []
            for index, batch in enumerate(passes):
                torch.manual_seed(pass_seed(1, index))
                vectors.append(encoder(batch))
            assert not torch.allclose(vectors[0], encoder(passes[0]), atol=1e-3), "dropout is active"
            loss(torch.cat(vectors))[0].backward()
        trained = {name: p.grad for name, p in encoder.named_parameters() if p.requires_grad}
        assert any("pooling.layer" in name for name in trained)
        assert all(float(gradient.abs().max()) > 0 for gradient in trained.values())
        results.append(trained)
    for name, gradient in results[1].items():
        # float64; only the order of sums over passes differs
        torch.testing.assert_close(gradient, results[0][name], rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """MNTP, then SimCSE, uninterrupted."""
    folder = tmp_path_factory.mktemp("whole")
    bw.train(recipe(folder, pooling=LATENT), folder / "out", texts=TEXTS)
    return folder / "out"


def test_contrastive_learning_trains_all_of_it_and_mntp_nothing(whole: Path) -> None:
    start = bw.convert(whole.parent / "base", pooling=LATENT, device="cpu", dtype="float32")
    first, last = pooling_tensors(whole / "stages" / "1-mntp"), pooling_tensors(whole)
    assert first.keys() == last.keys() == start.pooling.state_dict().keys()
    assert not any(torch.equal(first[name], last[name]) for name in first)
    norms = {name: value for name, value in first.items() if "norm" in name}
    assert all(torch.equal(value, torch.full_like(value, name.endswith("weight"))) for name, value in norms.items())
    encoder = bw.load(whole, dtype="float32", device="cpu")
    stages = encoder.provenance["stages"]
    added = sum(value.numel() for value in last.values())
    assert stages[1]["trainable"] - stages[0]["trainable"] == added
    assert encoder.provenance["stages"][0]["merge_difference"] < 1e-3
    assert encoder.pooling.settings == {**LATENT, "form": "code"}
    for name, value in encoder.pooling.state_dict().items():
        assert torch.equal(value, last[name])
    vectors = encoder.encode(TEXTS[:5])
    encoder.save(whole.parent / "again")
    assert np.array_equal(vectors, bw.load(whole.parent / "again", dtype="float32", device="cpu").encode(TEXTS[:5]))


@pytest.mark.parametrize(("stage", "step"), [(1, 2), (1, 4)])
def test_a_resumed_run_equals_the_uninterrupted_one(whole: Path, tmp_path: Path, monkeypatch, stage: int, step: int) -> None:
    made, out = recipe(whole.parent, pooling=LATENT), tmp_path / "out"
    plain = Stepper.__call__

    def with_signal(self, number, lr, *, interrupted=False):
        if (self.stage, number + 1) == (stage, step):
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", with_signal)
        with pytest.raises(Interrupted):
            bw.train(made, out, texts=TEXTS)
    bw.train(made, out, resume=True, texts=TEXTS)
    assert state(out, "2-simcse", 6)["losses"] == state(whole, "2-simcse", 6)["losses"]
    for name in ("model.safetensors", "1_AttentionPooling/model.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    checkpoint = Path("checkpoints") / "2-simcse" / "step-00000006" / "trainable.safetensors"
    assert (out / checkpoint).read_bytes() == (whole / checkpoint).read_bytes()
    assert any(name.startswith("encoder.pooling.layer") for name in load_file(out / checkpoint))


@pytest.mark.parametrize("adapter", [{"r": 4}, None], ids=["lora", "every weight"])
def test_bfloat16_training_keeps_the_pooling_in_float32(tmp_path: Path, adapter: dict[str, Any] | None) -> None:
    made = recipe(tmp_path, simcse(adapter=adapter, optim={"lr": 1e-3, "steps": 3}), pooling=SELF, dtype="bfloat16")
    encoder = bw.train(made, tmp_path / "out", texts=TEXTS)
    assert encoder.dtype == torch.bfloat16
    assert {p.dtype for p in encoder.pooling.parameters()} == {torch.float32}
    saved = pooling_tensors(tmp_path / "out")
    (checkpoint,) = (tmp_path / "out" / "checkpoints" / "1-simcse").glob("step-00000003/trainable.safetensors")
    trained = load_file(checkpoint)
    for name, value in saved.items():
        assert torch.equal(value, trained[f"encoder.pooling.{name}"])  # merging the adapter has not lost it
        assert torch.equal(value, encoder.pooling.state_dict()[name])
    assert not torch.equal(saved["layer.query.weight"], saved["layer.query.weight"].bfloat16().float())


def test_the_best_checkpoint_brings_its_own_pooling(tmp_path: Path, monkeypatch) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def metric(encoder: Encoder) -> float:
        seen.append({name: value.clone() for name, value in encoder.pooling.state_dict().items()})
        assert encoder.encode(TEXTS[:3]).shape == (3, 32)
        return (0.1, 0.9, 0.3)[len(seen) - 1]

    monkeypatch.setattr(devmetric, "dev_metric", lambda spec, **_: metric)
    made = recipe(tmp_path, simcse(eval={"metric": "scripted", "every": 2}), pooling=LATENT)
    bw.train(made, tmp_path / "out", texts=TEXTS)
    saved = pooling_tensors(tmp_path / "out")
    assert all(torch.equal(saved[name], seen[1][name]) for name in saved)
    assert not torch.equal(saved["layer.latents"], seen[2]["layer.latents"])


def test_a_finished_encoder_gets_one_and_keeps_its_own_where_the_recipe_has_it(whole: Path, tmp_path: Path) -> None:
    mean = tmp_path / "mean"
    bw.convert(whole.parent / "base", device="cpu", dtype="float32").save(mean)
    short = simcse(optim={"lr": 1e-3, "steps": 1})
    encoder = bw.train(recipe(whole.parent, short, base=str(mean), pooling=LATENT), tmp_path / "out", texts=TEXTS)
    assert encoder.pooling.settings == {**LATENT, "form": "code"}
    # its own goes on being trained: one step of rate 1e-3 moves a weight by no more than that
    again = bw.train(recipe(whole.parent, short, base=str(whole), pooling=LATENT), tmp_path / "again", texts=TEXTS)
    before, after = pooling_tensors(whole)["layer.latents"], again.pooling.state_dict()["layer.latents"]
    assert 0 < (after - before).abs().max() <= 1.01e-3
    with pytest.raises(
        InputError, match=r"pooling: .* has latent_attention pooling, but the recipe test has mean, .* set pooling=\{'mode'"
    ):
        bw.train(recipe(whole.parent, short, base=str(whole)), tmp_path / "plain", texts=TEXTS)
    with pytest.raises(
        InputError, match=r"pooling: .* has a trained pooling of its own .*latents=6.* the recipe wants mode="
    ) as caught:
        other = recipe(whole.parent, short, base=str(whole), pooling={**LATENT, "latents": 7})
        bw.train(other, tmp_path / "other", texts=TEXTS)
    assert "\n" not in str(caught.value)
