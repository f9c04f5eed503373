"""Whole runs over data that streams: killed and resumed, on two processes, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

import bothways as bw
from bothways.data.streams.shards import StreamShard
from bothways.errors import InputError, SourceError
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from bothways.training.recipe.data_config import DataConfig
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.recipe_changes import changed_keys
from bothways.training.stage.stage_data import read_stage_data
from bothways.training.stream import stage_stream
from bothways.training.stream.stage_stream import open_stream
from tiny import SENTENCES
from unit.training.material import metrics, mntp, recipe, simcse, state, weights
from unit.training.processes import same_runs, two_processes
from unit.training.stage.test_labeled import supervised

TEXTS = [f"{sentence} {number}" for number in range(15) for sentence in SENTENCES]


def write(folder: Path) -> Path:
    """Three shards of different kinds."""
    data = folder / "data"
    if not data.exists():
        data.mkdir()
        (data / "a.txt").write_text("\n".join(TEXTS[:50]))
        (data / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[50:90]))
        (data / "c.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS[90:]))
    return data


def texts(folder: Path, **changes) -> Recipe:
    """MNTP, then SimCSE, over a stream; every stage reads several pieces and begins its data again."""
    data = {"source": str(write(folder)), "stream": {"buffer": 16}}
    return recipe(
        folder,
        mntp(data=data, optim={"lr": 1e-3, "steps": 20}, save_every=6, log_every=1),
        simcse(data=data, optim={"lr": 1e-3, "steps": 20}, save_every=6, log_every=1),
        **changes,
    )


def pairs(folder: Path, **changes) -> Recipe:
    """Labeled rows, some of them with the same query."""
    rows = [{"query": f"{TEXTS[n % 20]}?", "pos": [TEXTS[n], f"{TEXTS[n]}!"], "neg": [TEXTS[(n + 1) % 60]]} for n in range(60)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"source": str(folder / "rows.jsonl"), "stream": {"buffer": 16}, "query_prompt": "Ask: "}
    return recipe(folder, supervised(data=data, optim={"lr": 1e-3, "steps": 20}, save_every=6, log_every=1, **changes))


def same_run(one: Path, other: Path, stages: dict[str, int]) -> None:
    """Losses to the digit, metrics and weights."""
    for stage, last in stages.items():
        assert state(one, stage, last)["losses"] == state(other, stage, last)["losses"]
    assert metrics(one) == metrics(other)
    first, second = weights(one), weights(other)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    bw.train(texts(folder), folder / "out")
    return folder / "out"


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from pathlib import Path
import torch
torch.set_num_threads({threads})
from unit.training.stream.test_stage_stream import texts
import bothways as bw
from bothways.training.loop.optimizer_step import Stepper
plain = Stepper.__call__
def dying(self, number, lr, *, interrupted=False):
    if (self.stage, number) == (1, 15):
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, number, lr, interrupted=interrupted)
Stepper.__call__ = dying
bw.train(texts(Path({folder!r})), {out!r})
"""


def test_a_killed_run_ends_as_one_that_was_not(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    paths = [path for path in sys.path if path]
    script = KILLED.format(paths=paths, folder=str(whole.parent), out=str(out), threads=torch.get_num_threads())
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert (out / "checkpoints" / "2-simcse" / "step-00000012" / "stream.json").is_file()
    bw.train(texts(whole.parent), out, resume=True)
    same_run(whole, out, {"1-mntp": 20, "2-simcse": 20})


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    folder = tmp_path_factory.mktemp("labeled")
    made = pairs(folder)
    bw.train(made, folder / "whole")
    return made, folder / "whole"


@pytest.mark.parametrize("step", [3, 8, 17])
def test_stopped_at_any_step_with_labeled_rows(
    labeled: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    made, whole = labeled
    plain = Stepper.__call__

    def with_signal(self, number, lr, *, interrupted=False):
        if number + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", with_signal)
        with pytest.raises(Interrupted):
            bw.train(made, tmp_path / "out")
    bw.train(made, tmp_path / "out", resume=True)
    same_run(whole, tmp_path / "out", {"1-supervised": 20})


def test_the_provenance_and_the_dry_run_tell_of_the_stream(whole: Path) -> None:
    (facts,) = bw.load(whole, dtype="float32").provenance["stages"][0]["data"]
    assert facts["streamed"] is True and set(facts["files"]) == {"a.txt", "b.jsonl", "c.csv"}
    plan = bw.train(texts(whole.parent), dry_run=True)
    assert [(stage.texts, stage.examples, stage.steps) for stage in plan.stages] == [(None, None, 20)] * 2


def test_changed_data_and_a_damaged_place_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pairs(tmp_path)
    plain = Stepper.__call__

    def with_signal(self, number, lr, *, interrupted=False):
        if number == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", with_signal)
        with pytest.raises(Interrupted):
            bw.train(made, tmp_path / "out")
    (place,) = (tmp_path / "out" / "checkpoints").glob("*/step-00000008/stream.json")
    kept = place.read_text()
    for damaged in ("", "[]", "{}", '{"number": -1, "epoch": 0, "shard": 0, "item": 0}', kept.replace(":", ": 9")):
        place.write_text(damaged)
        with pytest.raises(InputError, match=r"stream\.json: .*remove the folder to resume before it"):
            bw.train(made, tmp_path / "out", resume=True)
    place.write_text(kept)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(rows.read_text().replace("cat", "dog"))
    with pytest.raises(InputError, match="cannot be continued, texts has changed"):
        bw.train(made, tmp_path / "out", resume=True)


def test_a_fingerprint_sees_bytes_and_not_paths(tmp_path: Path) -> None:
    prints = []
    for name, text in (("one", "a\nb"), ("two", "a\nb"), ("three", "a\nc")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(text)
        prints.append(open_stream(DataConfig(source=str(tmp_path / name), stream=True), "texts").fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_a_hub_dataset_is_known_by_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    revisions = iter(["a" * 40, "a" * 40, "b" * 40])

    class Api:
        def dataset_info(self, name: str) -> SimpleNamespace:
            assert name == "org/name"
            return SimpleNamespace(sha=next(revisions))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(stage_stream, "shards_of", lambda source, reader: [StreamShard(source, lambda: iter(["text"]))])
    data = DataConfig(source="org/name:en/train", stream=True)
    one, same, other = (open_stream(data, "texts") for _ in range(3))
    assert one.origin[0]["revision"] == "a" * 40
    assert one.fingerprint == same.fingerprint != other.fingerprint
    with pytest.raises(SourceError, match=r"org/name:en/train.*could not be read"):
        open_stream(data, "texts")  # no revision is left


def test_true_is_a_stream_with_the_default_buffer() -> None:
    assert DataConfig(source="a", stream=True).stream == DataConfig(source="a", stream={}).stream
    assert DataConfig(source="a", stream=True).stream.buffer == 10_000
    assert DataConfig(source="a", stream=False) == DataConfig(source="a")
    made = Recipe.from_values({"name": "r", "base": "b", "stages": [mntp(), simcse()]})
    streamed = override(made, "stages.*.data.stream=true")
    assert override(made, "stages.*.data.stream.buffer=10000") == streamed
    assert Recipe.from_yaml(streamed.to_yaml()) == streamed
    resolved = made.resolved()
    for stage in resolved["stages"]:
        del stage["data"]["stream"]
    assert changed_keys(resolved, made.resolved()) == []
    assert changed_keys(made.resolved(), streamed.resolved()) != []


STREAM = {"source": "a", "stream": True}
STEPS = {"optim": {"steps": 5}}


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (mntp(data={**STREAM, "limit": 5}), "stream: limit needs all rows at once"),
        (mntp(data={**STREAM, "rows": 5}), "stream: rows needs all rows"),
        (supervised(data={**STREAM, "batches": "homogeneous"}), "stream: batches needs all rows"),
        (supervised(data={**STREAM, "mine": {}}), "stream: mine needs all rows"),
        (mntp(data={**STREAM, "stream": {"buffer": 1}}), r"data\.stream\.buffer"),
        (mntp(data={**STREAM, "stream": {"bufer": 9}}), "bufer.*did you mean 'buffer'"),
        (mntp(data={**STREAM, "stream": {"buffer": 3}}), r"buffer: 3 is less than one step takes"),
        (mntp(data=STREAM, optim={"epochs": 2}), r"a stage cannot last a number of epochs; set optim\.steps"),
        (mntp(data=STREAM, optim={}), "cannot last a number of epochs"),
        (mntp(data=STREAM, heldout={"share": 0.1, "every": 2}), "data.stream: heldout takes a share"),
        (mntp(heldout={"data": STREAM, "every": 2}), "heldout.data.stream: held-out data is read whole"),
        (supervised(data=STREAM, refresh={"every": 3}), "data.stream: refresh mines"),
        (
            supervised(data=STREAM, objective={"kind": "supervised", "distillation": {}}),
            "data.stream: distillation and guide keep numbers of all rows",
        ),
        (
            supervised(data=STREAM, objective={"kind": "supervised", "in_batch": {"a": True}}),
            "data.stream: in_batch by task needs rows of every task",
        ),
        (simcse(data=STREAM, objective={"kind": "llara"}), "data.stream: the objective llara needs all its rows at once"),
    ],
)
def test_what_needs_the_whole_data_is_refused_in_one_line(stage: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Recipe.from_values({"name": "r", "base": "b", "stages": [stage]}, where="r.yaml")
    assert "\n" not in str(caught.value)


def test_texts_in_memory_and_empty_sources_are_refused(tmp_path: Path) -> None:
    made = texts(tmp_path)
    with pytest.raises(InputError, match=r"stages\.mntp\.data\.stream: the texts are in memory already"):
        read_stage_data(made.stages[0], TEXTS)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.txt").write_text("\n")
    with pytest.raises(InputError, match="holds no text"):
        open_stream(DataConfig(source=str(tmp_path / "none"), stream=True), "texts")


def nothing_random(folder: Path, size: int) -> Recipe:
    """Every token is masked and nothing is dropped, so only the order of the data is random."""
    stage = mntp(
        objective={"kind": "mntp", "row_length": 16, "mask_probability": 1.0, "style": "all_mask"},
        data={"source": str(write(folder)), "stream": {"buffer": 16}},
        batch={"size": size, "accumulation": 2},
        optim={"lr": 1e-2, "steps": 12, "schedule": "constant"},
        adapter={"r": 4, "dropout": 0.0},
        save_every=5,
    )
    return recipe(folder, stage)


def of_two(folder: Path) -> None:
    """What each of two processes runs."""
    bw.train(nothing_random(folder, 2), folder / "two")


def test_two_processes_see_what_one_sees(tmp_path: Path) -> None:
    bw.train(nothing_random(tmp_path, 4), tmp_path / "one")
    two_processes(tmp_path, "unit.training.stream.test_stage_stream.of_two", {})
    same_runs(tmp_path / "two", tmp_path / "one")
    marks = [(tmp_path / name / "checkpoints/1-mntp/step-00000010/stream.json").read_text() for name in ("one", "two")]
    assert marks[0] == marks[1]
