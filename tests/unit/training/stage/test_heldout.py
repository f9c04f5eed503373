"""The held-out loss falls while a stage is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from unit.training.material import TEXTS, metrics, mntp, recipe


def test_held_out_loss_is_logged(tmp_path: Path) -> None:
    (tmp_path / "held.txt").write_text("\n".join(TEXTS[:20]))
    stage = mntp(
        heldout={"data": {"source": str(tmp_path / "held.txt")}, "every": 4, "limit": 5}, optim={"lr": 5e-2, "steps": 8}
    )
    bw.train(recipe(tmp_path, stage), tmp_path / "out", texts=TEXTS)
    lines = [line for line in metrics(tmp_path / "out") if "heldout_loss" in line]
    assert [line["step"] for line in lines] == [4, 8]
    assert lines[1]["heldout_loss"] < lines[0]["heldout_loss"]
    assert lines[0]["heldout_perplexity"] == pytest.approx(np.exp(lines[0]["heldout_loss"]))
