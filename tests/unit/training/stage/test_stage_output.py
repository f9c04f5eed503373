"""Weights of a finished stage: merged in float32, and only those that were trained have changed."""

from __future__ import annotations

from pathlib import Path

import torch

import bothways as bw
from unit.training.material import TEXTS, mntp, recipe, weights


def test_bfloat16_training_merges_into_the_stored_float32_weights(tmp_path: Path) -> None:
    made = recipe(tmp_path, mntp(optim={"lr": 1e-3, "steps": 2}), dtype="bfloat16")
    encoder = bw.train(made, tmp_path / "out", texts=TEXTS)
    base, out = weights(tmp_path / "base"), weights(tmp_path / "out")
    assert encoder.dtype == torch.bfloat16
    assert all(tensor.dtype == torch.float32 for tensor in out.values())
    # what no adapter touches has kept every bit of its float32 value
    assert torch.equal(out["embed_tokens.weight"], base["model.embed_tokens.weight"])
    assert not torch.equal(out["embed_tokens.weight"], out["embed_tokens.weight"].bfloat16().float())
    moved = (out["layers.0.mlp.up_proj.weight"] - base["model.layers.0.mlp.up_proj.weight"]).abs().max()
    assert 0 < moved < 0.1


def test_every_weight_can_train(tmp_path: Path) -> None:
    made = recipe(tmp_path, mntp(adapter=None, optim={"lr": 1e-3, "steps": 3, "weight_decay": 0.1}), dtype="bfloat16")
    bw.train(made, tmp_path / "out", texts=TEXTS)
    base, out = weights(tmp_path / "base"), weights(tmp_path / "out")
    assert all(not torch.equal(out[name], base[f"model.{name}"]) for name in out)


def test_bfloat16_with_a_trained_head(tmp_path: Path) -> None:
    objective = {"kind": "mntp", "row_length": 32, "train_head": True}
    made = recipe(tmp_path, mntp(objective=objective, optim={"lr": 1e-3, "steps": 2}), dtype="bfloat16")
    assert bw.train(made, tmp_path / "out", texts=TEXTS).provenance["stages"][0]["loss"]["last"] > 0
