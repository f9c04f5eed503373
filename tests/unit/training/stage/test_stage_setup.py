"""How a stage is prepared: parts that only training has, gradient checkpointing."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from unit.training.material import TEXTS, mntp, recipe, simcse, state, weights


def test_train_only_parts_are_trained_and_left_behind(tmp_path: Path) -> None:
    objective = {"kind": "mntp", "row_length": 32, "train_head": True}
    head = bw.train(recipe(tmp_path, mntp(objective=objective)), tmp_path / "head", texts=TEXTS)
    plain = bw.train(recipe(tmp_path, mntp()), tmp_path / "plain", texts=TEXTS)
    counts = [encoder.provenance["stages"][0]["trainable"] for encoder in (head, plain)]
    size = weights(tmp_path / "base")["model.embed_tokens.weight"].numel()
    assert counts[0] - counts[1] == size  # LLM2Vec's accident: the whole head
    assert weights(tmp_path / "head").keys() == weights(tmp_path / "plain").keys()


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    losses = []
    for checkpointing in (False, True):
        out = tmp_path / str(checkpointing)
        made = recipe(tmp_path, mntp(gradient_checkpointing=checkpointing), simcse(gradient_checkpointing=checkpointing))
        bw.train(made, out, texts=TEXTS)
        losses.append(state(out, "1-mntp", 8)["losses"] + state(out, "2-simcse", 6)["losses"])
    # the recomputation repeats the same operations on the same numbers
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
