"""Measurements of cells: the scores of the encoder alone, continued task by task."""

from __future__ import annotations

from pathlib import Path

import bothways as bw
from bothways.ablation import measure as measure_module
from bothways.evaluation.results import Results
from unit.ablation.material import World, count_trainings, plan, scores


def test_scores_are_those_of_the_encoder_alone(world: World, whole: Path) -> None:
    """An independent way to two of the numbers: convert or load by hand, evaluate by hand."""
    hand = bw.convert(world.base, direction="causal", pooling="last", dtype="float32")
    assert scores(whole)["uni-last-float32.json"] == bw.evaluate(hand, world.tasks).main
    folder = whole / "bidirectional-last-mntp-simcse-seed0"
    assert (
        scores(whole)["bi+mntp+simcse-last-seed0-float32.json"]
        == bw.evaluate(bw.load(folder, dtype="float32"), world.tasks).main
    )


def test_other_poolings_for_the_same_weights(world: World, copy: Path, monkeypatch) -> None:
    trained = count_trainings(monkeypatch)
    table = bw.ablate(plan(world, poolings=["mean"], eval_poolings=["max"]), copy)
    assert trained == []
    encoder = bw.load(copy / "bidirectional-mean-mntp-simcse-seed0", dtype="float32")
    by_hand = bw.evaluate(encoder, world.tasks).main
    from bothways.pooling import Pooling

    encoder.pooling = Pooling("max")
    under_max = bw.evaluate(encoder, world.tasks).main
    found = scores(copy)
    assert found["bi+mntp+simcse-mean-seed0-float32.json"] == by_hand
    assert found["bi+mntp+simcse-mean-as-max-seed0-float32.json"] == under_max
    assert "max (trained: mean)" in {line.under for line in table.lines}


def test_untrained_rows_have_the_recipes_prompts(world: World, tmp_path: Path) -> None:
    """They are what the first stage of the other rows starts from, so that rows differ in what they
    are named for.
    """
    recipe = world.write_recipe("prompted.yaml", prompts={"default": "Find: "}, default_prompt="default", max_length=64)
    found = bw.ablate(world.plan("uni", recipe=recipe), tmp_path / "out").lines[0].scores
    hand = bw.convert(
        world.base,
        direction="causal",
        dtype="float32",
        max_length=64,
        prompts={"default": "Find: "},
        default_prompt="default",
    )
    assert found == {name: [score] for name, score in bw.evaluate(hand, world.tasks[0]).main.items()}
    assert found != bw.ablate(world.plan("uni"), tmp_path / "other").lines[0].scores


def test_measuring_continues_task_by_task(world: World, copy: Path, monkeypatch) -> None:
    file = copy / "results" / "bi-mean-float32.json"
    whole = Results.load(file)
    kept = Results({world.tasks[0]: whole.records[world.tasks[0]]}, whole.provenance)
    kept.save(file)
    ran: list[str] = []
    plain = bw.evaluate
    assert plain is measure_module.evaluate
    from bothways.evaluation.tasks.sts import STS

    run = STS.run
    monkeypatch.setattr(STS, "run", lambda self, *given: (ran.append(self.name), run(self, *given))[1])
    bw.ablate(plan(world), copy)
    assert ran == [world.tasks[1]]
    assert Results.load(file).main == whole.main
