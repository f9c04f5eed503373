"""Whole runs on a tiny model: what a run leaves behind, and that stopping, killing and resuming
change nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.errors import InputError
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import Recipe
from tiny import tiny_model
from unit.training.material import TEXTS, metrics, mntp, recipe, simcse, state, weights

FIRST, SECOND = "1-mntp", "2-simcse"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An uninterrupted run of both stages; its base lies beside it."""
    folder = tmp_path_factory.mktemp("whole")
    bw.train(recipe(folder), folder / "out", texts=TEXTS)
    return folder / "out"


def same_run(one: Path, other: Path) -> None:
    """Loss history, metrics, trained parameters, optimiser and final weights, bit by bit."""
    for stage, step in ((FIRST, 8), (SECOND, 6)):
        assert state(one, stage, step)["losses"] == state(other, stage, step)["losses"]
        left, right = (folder / "checkpoints" / stage / f"step-{step:08d}" for folder in (one, other))
        assert (left / "trainable.safetensors").read_bytes() == (right / "trainable.safetensors").read_bytes()
        moments = [torch.load(folder / "optimizer.pt", weights_only=True)["state"] for folder in (left, right)]
        assert all(torch.equal(moments[0][n]["exp_avg_sq"], moments[1][n]["exp_avg_sq"]) for n in moments[0])
    assert metrics(one) == metrics(other)
    first, second = weights(one), weights(other)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_an_encoder_its_recipe_and_its_history(whole: Path) -> None:
    encoder = bw.load(whole, dtype="float32")
    assert encoder.direction == "bidirectional"
    vectors = encoder.encode(TEXTS[:5])
    assert np.array_equal(vectors, bw.load(whole, dtype="float32").encode(TEXTS[:5]))
    assert not any("lora" in name for name in weights(whole))

    written = Recipe.from_yaml((whole / "recipe.yaml").read_text())
    assert written == recipe(whole.parent)
    stages = encoder.provenance["stages"]
    assert [stage["name"] for stage in stages] == ["mntp", "simcse"]
    assert stages[0]["steps"] == 8
    assert stages[0]["data"][0]["texts"] == len(TEXTS)
    assert all(stage["merge_difference"] < 1e-5 for stage in stages)
    assert stages[0]["loss"]["first"] != stages[0]["loss"]["last"]

    middle = bw.load(whole / "stages" / FIRST, dtype="float32")
    assert [stage["name"] for stage in middle.provenance["stages"]] == ["mntp"]
    base = bw.convert(whole.parent / "base", dtype="float32")
    for one, other in ((base, middle), (middle, encoder)):
        assert np.abs(one.encode(TEXTS[:5]) - other.encode(TEXTS[:5])).max() > 1e-3  # each stage has changed the encoder

    lines = metrics(whole)
    losses = [line for line in lines if "loss" in line]
    assert [line["step"] for line in losses if line["stage"] == "mntp"] == [2, 4, 6, 8]
    assert {"lr", "grad_norm", "tokens", "accuracy"} <= losses[0].keys()
    assert losses[0]["tokens"] == 2 * 2 * 2 * 32
    assert any("mean_cosine" in line and "effective_rank" in line for line in lines)
    # the mean over the lines' windows is the mean of the history
    history = state(whole, FIRST, 8)["losses"]
    assert np.mean([line["loss"] for line in losses if line["stage"] == "mntp"]) == pytest.approx(np.mean(history))


def test_the_folder_loads_in_sentence_transformers(whole: Path) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(whole), device="cpu", model_kwargs={"dtype": torch.float32}).encode(TEXTS[:4])
    ours = bw.load(whole, dtype="float32", device="cpu").encode(TEXTS[:4])
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_same_seed_same_run_and_another_seed_another(whole: Path, tmp_path: Path) -> None:
    made = recipe(whole.parent)
    bw.train(made, tmp_path / "again", texts=TEXTS)
    same_run(whole, tmp_path / "again")
    bw.train(override(made, "seed=4"), tmp_path / "other", texts=TEXTS)
    assert state(tmp_path / "other", FIRST, 8)["losses"] != state(whole, FIRST, 8)["losses"]


@pytest.mark.parametrize(("stage", "step"), [(0, 4), (1, 2), (0, 8)])
def test_sigterm_saves_and_resuming_equals_the_uninterrupted_run(
    whole: Path, tmp_path: Path, monkeypatch, stage: int, step: int
) -> None:
    made, out = recipe(whole.parent), tmp_path / "out"
    plain = Stepper.__call__

    def with_signal(self, number, lr, *, interrupted=False):
        if (self.stage, number + 1) == (stage, step):
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", with_signal)
        with pytest.raises(Interrupted, match=rf"SIGTERM after step {step} of .* in stage {made.stages[stage].name}"):
            bw.train(made, out, texts=TEXTS)
    assert signal.getsignal(signal.SIGTERM) == before
    assert not (out / "modules.json").exists()
    bw.train(made, out, resume=True, texts=TEXTS)
    same_run(whole, out)


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from pathlib import Path
import torch
from unit.training.material import TEXTS, interrupted, recipe
import bothways as bw
torch.set_num_threads({threads})
from bothways.training.loop.optimizer_step import Stepper
plain = Stepper.__call__
def dying(self, number, lr, *, interrupted=False):
    if (self.stage, number) == (1, 4):
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, number, lr, interrupted=interrupted)
Stepper.__call__ = dying
bw.train(recipe(Path({folder!r})), {out!r}, texts=TEXTS)
"""


def test_a_killed_run_resumes_from_its_last_checkpoint(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = KILLED.format(
        paths=[path for path in sys.path if path], folder=str(whole.parent), out=str(out), threads=torch.get_num_threads()
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert sorted(entry.name for entry in (out / "checkpoints" / SECOND).iterdir()) == ["step-00000003"]
    bw.train(recipe(whole.parent), out, resume=True, texts=TEXTS)
    same_run(whole, out)


def test_resuming_a_finished_run_trains_nothing(whole: Path, monkeypatch) -> None:
    monkeypatch.setattr(Stepper, "__call__", lambda *_, **__: pytest.fail("trained"))
    before = sorted(whole.rglob("*"))
    encoder = bw.train(recipe(whole.parent), whole, resume=True, texts=TEXTS)
    assert encoder.provenance["stages"][1]["steps"] == 6
    assert sorted(whole.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "texts", "message"),
    [
        ({"stages": [mntp(data={"source": "no/such/file.txt"})]}, None, "no such file"),
        ({"stages": [mntp(), simcse(eval={"metric": "nonsense", "every": 1})]}, TEXTS, "nonsense"),
        (
            {"stages": [mntp(batch={"size": 4000})]},
            TEXTS,
            r"stages\.mntp: the data gives \d+ examples, and one step takes 4000",
        ),
        ({"stages": [mntp()]}, "one text", "expected a list of texts"),
        ({"stages": [mntp()]}, {"other": TEXTS}, "none for stage 'mntp'"),
        ({"stages": [simcse()]}, ["a", 3], r"texts\[1\]: must be a string"),
        ({"trackers": ["nonsense"]}, TEXTS, "nonsense"),
        ({"pooling": "average"}, TEXTS, "average"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_trained(
    tmp_path: Path, changes: dict, texts, message: str, monkeypatch
) -> None:
    monkeypatch.setattr(Stepper, "__call__", lambda *_, **__: pytest.fail("trained"))
    values = {**recipe(tmp_path).resolved(), **changes}
    with pytest.raises((InputError, OSError), match=message) as caught:
        bw.train(Recipe.from_values(values), tmp_path / "out", texts=texts)
    assert "\n" not in str(caught.value)


def test_simcse_on_bert(tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM, BertConfig

    from bothways import recipes

    size = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": 0.1,
    }
    tokens = {"add_bos": True, "add_eos": True, "unk": "<unk>", "mask": "<mask>"}
    tiny_model(tmp_path / "bert", BertConfig, auto=AutoModelForMaskedLM, tokenizer=tokens, **size)
    made = recipes.simcse(
        str(tmp_path / "bert"), stages__simcse__batch__size=8, stages__simcse__optim={"lr": 1e-3, "steps": 4}, dtype="float32"
    )
    assert made.pooling == "cls"
    assert made.stages[0].adapter is None
    encoder = bw.train(made, tmp_path / "out", texts=TEXTS)
    assert encoder.pooling.mode == "bos"
    layer = encoder.dimension * encoder.dimension + encoder.dimension
    backbone = sum(parameter.numel() for parameter in encoder.backbone.parameters())
    assert encoder.provenance["stages"][0]["trainable"] == backbone + layer  # the train-only layer
