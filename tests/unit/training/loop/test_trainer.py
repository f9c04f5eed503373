"""Whole runs on a tiny model: what a run leaves behind, and that stopping, killing and resuming change nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.backbone.adapter.lora import trainable_counts
from bothways.errors import InputError
from bothways.evaluation import devmetric
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import Recipe
from tiny import tiny_llama, tiny_model
from unit.training.material import TEXTS, interrupted, metrics, mntp, recipe, simcse, state, weights

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


def test_resuming_refuses_what_has_changed(tmp_path: Path, monkeypatch) -> None:
    made, out = recipe(tmp_path), tmp_path / "out"
    interrupted(made, out, monkeypatch)
    changed = override(made, ["stages.mntp.optim.lr=0.5", "seed=9"])
    with pytest.raises(InputError, match=r"recipe has changed.*seed \(3 → 9\); stages\.mntp\.optim\.lr \(0\.001 → 0\.5\)"):
        bw.train(changed, out, resume=True, texts=TEXTS)
    with pytest.raises(InputError, match="texts has changed"):
        bw.train(made, out, resume=True, texts=TEXTS[1:])
    bw.train(override(made, ["stages.*.log_every=1", "keep_checkpoints=1"]), out, resume=True, texts=TEXTS)
    assert (out / "modules.json").exists()


def test_an_occupied_folder_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="already exists and is not empty"):
        bw.train(recipe(tmp_path), out, texts=TEXTS)
    with pytest.raises(InputError, match=r"no recipe\.yaml"):
        bw.train(recipe(tmp_path), out, resume=True, texts=TEXTS)
    assert [entry.name for entry in out.iterdir()] == ["notes.txt"]


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


def test_dry_run_counts_measures_and_writes_nothing(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    plan = bw.train(made, tmp_path / "out", dry_run=True, texts=TEXTS)
    assert sorted(tmp_path.rglob("*")) == before
    assert [stage.name for stage in plan.stages] == ["mntp", "simcse"]
    first, second = plan.stages
    assert made.stages[0].adapter is not None
    assert first.trainable == trainable_counts(bw.convert(tmp_path / "base").backbone, made.stages[0].adapter).trainable
    assert (first.steps, first.horizon, first.tokens) == (8, 8, 8 * 2 * 2 * 32)
    assert second.examples == second.texts == len(TEXTS)
    assert plan.seconds > 0
    assert first.memory > 1 << 20
    json.dumps(plan.as_dict())


class Scripted:
    """A dev metric that returns given values and remembers the encoder's parameters."""

    name = "scripted"

    def __init__(self, values: list[float]) -> None:
        self.values, self.seen = list(values), []

    def __call__(self, encoder) -> float:
        self.seen.append({n: p.detach().clone() for n, p in encoder.named_parameters() if "lora_" in n})
        return self.values[len(self.seen) - 1]


def test_the_best_checkpoint_ends_the_stage_and_survives_pruning(tmp_path: Path, monkeypatch) -> None:
    metric = Scripted([0.1, 0.9, 0.3, 0.2])
    monkeypatch.setattr(devmetric, "dev_metric", lambda spec, **_: metric)
    made = recipe(tmp_path, mntp(eval={"metric": "scripted", "every": 2}, save_every=1), keep_checkpoints=1)
    encoder = bw.train(made, tmp_path / "out", texts=TEXTS)
    assert encoder.provenance["stages"][0]["best"] == {"step": 4, "value": 0.9}
    kept = sorted(entry.name for entry in (tmp_path / "out" / "checkpoints" / FIRST).iterdir())
    assert kept == ["step-00000004", "step-00000008"]
    # the saved weights are base + (alpha / r) B A of step 4, computed here in float64
    base, best = weights(tmp_path / "base"), metric.seen[1]
    name = "layers.0.mlp.down_proj"
    a, b = (best[f"backbone.{name}.lora_{part}.default.weight"].double() for part in "AB")
    expected = base[f"model.{name}.weight"].double() + 2 * b @ a
    torch.testing.assert_close(weights(tmp_path / "out")[f"{name}.weight"].double(), expected, atol=1e-6, rtol=1e-6)
    dev = [line["dev"] for line in metrics(tmp_path / "out") if "dev" in line]
    assert dev == [0.1, 0.9, 0.3, 0.2]


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


def test_train_only_parts_are_trained_and_left_behind(tmp_path: Path) -> None:
    objective = {"kind": "mntp", "row_length": 32, "train_head": True}
    head = bw.train(recipe(tmp_path, mntp(objective=objective)), tmp_path / "head", texts=TEXTS)
    plain = bw.train(recipe(tmp_path, mntp()), tmp_path / "plain", texts=TEXTS)
    counts = [encoder.provenance["stages"][0]["trainable"] for encoder in (head, plain)]
    size = weights(tmp_path / "base")["model.embed_tokens.weight"].numel()
    assert counts[0] - counts[1] == size  # LLM2Vec's accident: the whole head
    assert weights(tmp_path / "head").keys() == weights(tmp_path / "plain").keys()


def test_bfloat16_with_a_trained_head(tmp_path: Path) -> None:
    objective = {"kind": "mntp", "row_length": 32, "train_head": True}
    made = recipe(tmp_path, mntp(objective=objective, optim={"lr": 1e-3, "steps": 2}), dtype="bfloat16")
    assert bw.train(made, tmp_path / "out", texts=TEXTS).provenance["stages"][0]["loss"]["last"] > 0


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    losses = []
    for checkpointing in (False, True):
        out = tmp_path / str(checkpointing)
        made = recipe(tmp_path, mntp(gradient_checkpointing=checkpointing), simcse(gradient_checkpointing=checkpointing))
        bw.train(made, out, texts=TEXTS)
        losses.append(state(out, FIRST, 8)["losses"] + state(out, SECOND, 6)["losses"])
    # the recomputation repeats the same operations on the same numbers
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


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


def test_collapse_stops_the_stage_when_asked(tmp_path: Path, monkeypatch) -> None:
    from bothways.training.stage.collapse import Collapse, CollapseWatch

    readings = iter([{"mean_cosine": 0.1, "effective_rank": 30.0}, {"mean_cosine": 0.999, "effective_rank": 2.0}])
    monkeypatch.setattr(CollapseWatch, "read", lambda self, encoder: next(readings))
    with pytest.raises(Collapse, match="collapse in stage mntp at step 3"):
        bw.train(recipe(tmp_path, mntp(on_collapse="stop")), tmp_path / "out", texts=TEXTS)


def test_a_saved_adapter_under_the_first_stage(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    made = recipe(tmp_path, simcse())
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModel.from_pretrained(tmp_path / "base"), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    model.save_pretrained(tmp_path / "adapter")
    encoder = bw.train(override(made, f"base_adapter={tmp_path / 'adapter'}"), tmp_path / "out", texts=TEXTS)
    assert encoder.provenance["base_adapter"] == str(tmp_path / "adapter")
    plain = bw.train(made, tmp_path / "plain", texts=TEXTS)
    assert np.abs(encoder.encode(TEXTS[:3]) - plain.encode(TEXTS[:3])).max() > 1e-2


def test_training_goes_on_from_an_encoder_folder(whole: Path, tmp_path: Path) -> None:
    encoder = bw.train(recipe(whole.parent, simcse(), base=str(whole)), tmp_path / "out", texts=TEXTS)
    assert [stage["name"] for stage in encoder.provenance["stages"]] == ["mntp", "simcse", "simcse"]
    # its provenance names the base LLM, whose head MNTP needs
    bw.train(recipe(whole.parent, mntp(), base=str(whole)), tmp_path / "mntp", texts=TEXTS)


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


def test_trackers_by_name(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra: track)")
    bw.train(recipe(tmp_path, mntp(), trackers=["tensorboard"]), tmp_path / "out", texts=TEXTS)
    assert list((tmp_path / "out").rglob("events.out.tfevents.*"))


def test_texts_come_from_files_with_limit_and_column(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"id": n, "body": text}) + "\n" for n, text in enumerate(TEXTS))
    (tmp_path / "a.jsonl").write_text(rows)
    (tmp_path / "b.jsonl").write_text(rows)
    data = {"source": [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], "column": "body", "limit": 10}
    tiny_llama(tmp_path / "base")
    encoder = bw.train(recipe(tmp_path, simcse(data=data)), tmp_path / "out")
    origin = encoder.provenance["stages"][0]["data"]
    assert [entry["texts"] for entry in origin] == [10, 10]
    assert origin[0]["sha256"] == origin[1]["sha256"]
