"""Whole ablations on a tiny model: stages are shared, stopped ones continue, changed ones are
refused, the table is the results'.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

import bothways as bw
from bothways.ablation import measure as measure_module
from bothways.ablation.ablation_plan import Plan
from bothways.ablation.grid import STARTS
from bothways.config import parse
from bothways.errors import InputError
from bothways.evaluation.results import Results
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from tiny import SENTENCES
from unit.ablation.material import POOLINGS, ROWS, World, count_trainings, plan, scores, snapshot


def test_stages_are_shared_and_finished_work_is_not_done_again(world: World, tmp_path: Path, monkeypatch) -> None:
    trained = count_trainings(monkeypatch)
    out = tmp_path / "out"
    bw.ablate(world.plan("bi+mntp"), out)
    assert trained == ["bidirectional-mean-mntp-seed0"]
    bw.ablate(world.plan("bi+mntp+simcse", "bi+mntp", poolings=POOLINGS), out)
    assert trained[1:] == ["bidirectional-mean-mntp-simcse-seed0", "bidirectional-last-mntp-simcse-seed0"]
    assert not any((out / STARTS).glob("*"))  # copies under another pooling are gone with their use
    before = snapshot(out)
    loaded: list[str] = []
    plain = measure_module.load
    monkeypatch.setattr(
        measure_module, "load", lambda folder, **options: (loaded.append(str(folder)), plain(folder, **options))[1]
    )
    bw.ablate(world.plan("bi+mntp+simcse", "bi+mntp", poolings=POOLINGS), out)
    assert (len(trained), loaded) == (3, [])
    assert {name for name, time in snapshot(out).items() if before.get(name) != time} == {"plan.yaml", "table.md", "table.json"}


def test_encoders_have_the_pooling_they_were_trained_through(whole: Path) -> None:
    mean, last = (bw.load(whole / f"bidirectional-{pooling}-mntp-simcse-seed0", dtype="float32") for pooling in POOLINGS)
    assert (mean.pooling.mode, last.pooling.mode) == ("mean", "last")
    assert [stage["name"] for stage in last.provenance["stages"]] == ["mntp", "simcse"]
    assert last.provenance["stages"][0] == mean.provenance["stages"][0]
    mean.pooling = last.pooling  # the same pooling, and still other vectors: the training went through another one
    assert np.abs(mean.encode(list(SENTENCES)) - last.encode(list(SENTENCES))).max() > 1e-3


def test_the_table_is_the_results_files(world: World, whole: Path) -> None:
    written = json.loads((whole / "table.json").read_text())
    assert [(line["row"], line["pooling"]) for line in written["lines"]] == [
        (row, pooling) for row in ROWS for pooling in POOLINGS
    ]
    for line in written["lines"]:
        results = Results.load(whole / line["files"][0])
        assert {task: found["values"] for task, found in line["tasks"].items()} == {
            name: [v] for name, v in results.main.items()
        }
        assert line["average"]["mean"] == statistics.fmean(results.main.values())
    averages = {(line["row"], line["pooling"]): line["average"]["mean"] for line in written["lines"]}
    base = max(averages["uni", pooling] for pooling in POOLINGS)
    for line in written["lines"]:
        if not line["baseline"] and base > 0:
            assert line["gain_percent"] == pytest.approx(100 * (line["average"]["mean"] / base - 1))
    best = [line for line in written["lines"] if line["best"]]
    assert [line["average"]["mean"] for line in best] == [max(averages.values())]
    text = (whole / "table.md").read_text()
    assert all(f"{100 * average:.1f}" in text for average in averages.values())
    assert parse(Plan, written["plan"], where="table.json") == parse(Plan, plan(world), where="plan")


def test_several_seeds(world: World, tmp_path: Path) -> None:
    table = bw.ablate(world.plan("uni", "bi+simcse", seeds=[0, 1, 2]), tmp_path / "out")
    uni, simcse = table.lines
    assert (uni.seeds, simcse.seeds) == ([None], [0, 1, 2])
    assert len(set(simcse.scores[world.tasks[0]])) == 3  # three seeds are three encoders
    assert " ± " in table.markdown()
    assert len(simcse.minutes) == 3


def test_the_dev_metric_of_a_stage_is_left_out_of_the_average(world: World, tmp_path: Path) -> None:
    watched = world.stage("simcse", eval={"metric": world.tasks[0], "every": 3})
    recipe = world.write_recipe("watched.yaml", world.stage("mntp"), watched)
    table = bw.ablate(world.plan("bi+simcse", recipe=recipe, tasks=world.tasks), tmp_path / "out")
    assert [column.averaged for column in table.columns] == [False, True]
    assert table.lines[0].averages(table.columns) == table.lines[0].scores[world.tasks[1]]


def test_a_trained_pooling(world: World, tmp_path: Path) -> None:
    latent = {"mode": "latent_attention", "latents": 8, "heads": 2}
    table = bw.ablate(world.plan("bi+mntp+simcse", "bi", poolings=[latent], eval_poolings=["mean"]), tmp_path / "out")
    assert [line.under for line in table.lines] == [
        *("mean", "latent attention-latents8-heads2", "mean (trained: latent attention-latents8-heads2)")
    ]
    encoder = bw.load(tmp_path / "out" / "bidirectional-latent_attention-latents8-heads2-mntp-simcse-seed0")
    assert encoder.pooling.mode == "latent_attention"
    assert table.notes == ("bi: no stage trains latent_attention-latents8-heads2, so its parameters would be random",)


@pytest.mark.parametrize("how", ["signal", "kill"])
def test_a_stopped_ablation_continues_to_the_same_table(
    world: World, whole: Path, tmp_path: Path, monkeypatch, how: str
) -> None:
    out, trained, plain = tmp_path / "out", count_trainings(monkeypatch), Stepper.__call__

    def stopping(self: Any, number: int, lr: float, *, interrupted: bool = False) -> Any:
        if self.objective.__class__.__name__.startswith("Contrastive") and number == 4:
            if how == "kill":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", stopping)
        with pytest.raises(Interrupted if how == "signal" else KeyboardInterrupt):
            bw.ablate(plan(world), out)
    assert trained == ["bidirectional-mean-mntp-seed0", "bidirectional-mean-mntp-simcse-seed0"]
    # what was finished is in the table already
    assert {line["row"] for line in json.loads((out / "table.json").read_text())["lines"]} == {"uni", "bi", "bi+mntp"}
    steps: list[int] = []
    monkeypatch.setattr(
        Stepper,
        "__call__",
        lambda self, number, lr, *, interrupted=False: (steps.append(number), plain(self, number, lr, interrupted=interrupted))[
            1
        ],
    )
    forecast = bw.ablate(plan(world), out, dry_run=True)
    assert [(each.name, each.action) for each in forecast.trainings][:2] == [
        ("bidirectional-mean-mntp-seed0", "reuse"),
        ("bidirectional-mean-mntp-simcse-seed0", "continue"),
    ]
    steps.clear()
    bw.ablate(plan(world), out)
    assert trained[2:] == ["bidirectional-mean-mntp-simcse-seed0", "bidirectional-last-mntp-simcse-seed0"]
    assert steps[0] == (5 if how == "signal" else 3)  # after the step of the signal; or from the checkpoint of step 3
    assert scores(out) == scores(whole)


def test_one_ablation_per_folder(world: World, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".out.lock"), pytest.raises(InputError, match="another process"):
        bw.ablate(world.plan("bi"), tmp_path / "out")


def test_the_results_make_a_report(whole: Path, tmp_path: Path) -> None:
    from bothways.report.page import write_report

    page = tmp_path / "report.html"
    write_report([str(whole / "results")], page)
    assert "bi+mntp+simcse-last-seed0" in page.read_text()


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"base": "nowhere-at-all/x"}, "nowhere-at-all"),
        ({"tasks": ["sts:nowhere.jsonl"]}, r"nowhere\.jsonl"),
        ({"tasks": ["perplexity:x"]}, "'perplexity:x': measures a language model"),
        ({"data": "nowhere.txt"}, r"nowhere\.txt"),
    ],
)
def test_what_is_missing_is_found_before_anything_is_written(
    world: World, tmp_path: Path, changes: dict[str, Any], answer: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(bw.BothwaysError, match=answer):
        bw.ablate(world.plan("bi+mntp", **changes), out)
    assert not out.exists()


def test_places_that_cannot_be(world: World, whole: Path, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match="out: name the folder"):
        bw.ablate(world.plan("bi"))
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="is a file"):
        bw.ablate(world.plan("bi"), file)
    with pytest.raises(InputError, match="is a finished encoder"):
        bw.ablate(world.plan("bi", base=str(whole / "bidirectional-mean-mntp-seed0")), tmp_path / "out")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="runs in one process"):
        bw.ablate(world.plan("bi"), tmp_path / "out")
