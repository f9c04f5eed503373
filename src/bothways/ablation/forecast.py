"""The dry run of an ablation: lists the work to do and estimates its time. Nothing is written.

A training's time comes from single micro-batches (`training.stage.estimate`), measured once for
each direction and stage. A measurement's time comes from results of the same task and precision
that already exist in the folder.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import Literal

from bothways.ablation.ablation_plan import Plan
from bothways.ablation.grid import Cell, Grid, Node
from bothways.ablation.measure import Bench
from bothways.ablation.reuse import Inventory
from bothways.evaluation.results import Results
from bothways.moved import old_names
from bothways.training.loop.trainer import train
from bothways.training.recipe.recipe import Recipe


@dataclass(frozen=True)
class PlannedTraining:
    """The planned work on an encoder.

    Attributes:
        name: its folder.
        action: "train", "continue", "reuse", "retrain", or "refuse" (the run would stop here).
        seconds: time of training, without evaluations during it.
        why: the difference to the plan, for "retrain" and "refuse".
    """

    name: str
    action: Literal["train", "continue", "reuse", "retrain", "refuse"]
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Measuring:
    """The planned measurements of a cell.

    Attributes:
        name: name of its results file.
        tasks: the tasks that have not been measured yet.
        seconds: time of the tasks with a known time.
        unknown: tasks with an unknown time.
    """

    name: str
    tasks: tuple[str, ...]
    seconds: float
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Forecast:
    """The work that an ablation would do."""

    trainings: tuple[PlannedTraining, ...]
    measurings: tuple[Measuring, ...]
    left_out: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """The total time of all work with a known time."""
        return sum(each.seconds for each in self.trainings) + sum(
            each.seconds for each in self.measurings
        )

    def lines(self) -> list[str]:
        """List the work for people to read, one line each."""
        found = []
        for each in self.trainings:
            time = "" if each.action in ("reuse", "refuse") else f", about {duration(each.seconds)}"
            found.append(f"{each.action} {each.name}{time}" + (f": {each.why}" if each.why else ""))
        for cell in self.measurings:
            if not cell.tasks:
                found.append(f"reuse results {cell.name}")
                continue
            known = (
                f", about {duration(cell.seconds)}" if len(cell.unknown) < len(cell.tasks) else ""
            )
            found.append(f"measure {cell.name}: {len(cell.tasks)} tasks{known}")
        found += [f"left out: {note}" for note in self.left_out]
        unknown = {task for cell in self.measurings for task in cell.unknown}
        rest = f", plus the unknown time to measure {', '.join(sorted(unknown))}" if unknown else ""
        done = sum(each.action == "reuse" for each in self.trainings)
        found.append(
            f"in all: {len(self.trainings) - done} to train, {done} to reuse, "
            f"{sum(bool(cell.tasks) for cell in self.measurings)} to measure; about {duration(self.seconds)}{rest}"
        )
        return found


def forecast(
    plan: Plan, grid: Grid, inventory: Inventory, bench: Bench, *, retrain: bool
) -> Forecast:
    """Inspect the folder and estimate the missing work."""
    costs = _Costs(plan, bench)
    trainings = [_training(node, inventory, costs, retrain) for node in required(grid, inventory)]
    new = {each.name for each in trainings if each.action != "reuse"}
    known = _known_seconds(bench)
    measurings = [_measuring(cell, bench, known, new) for cell in grid.cells]
    return Forecast(tuple(trainings), tuple(measurings), grid.left_out)


def required(grid: Grid, inventory: Inventory) -> list[Node]:
    """List the encoders that cells need and the missing encoders that these start from, in order.

    Each encoder comes after its start.
    """
    found: dict[str, Node] = {}

    def need(node: Node) -> None:
        if inventory.state(node).kind != "finished" and node.parent is not None:
            need(node.parent)
        found.setdefault(node.name, node)

    for cell in grid.cells:
        if cell.node is not None:
            need(cell.node)
    # A start that one row needs and another does not comes before both.
    return [node for node in grid.nodes if node.name in found]


def _training(node: Node, inventory: Inventory, costs: _Costs, retrain: bool) -> PlannedTraining:
    state = inventory.state(node)
    if state.kind == "finished":
        return PlannedTraining(node.name, "reuse", 0.0)
    if state.kind == "differs" and not retrain:
        return PlannedTraining(node.name, "refuse", 0.0, state.why)
    seconds, steps = costs.of(node)
    if state.kind == "begun":
        return PlannedTraining(node.name, "continue", seconds * (steps - state.step) / steps)
    return PlannedTraining(
        node.name, "train" if state.kind == "absent" else "retrain", seconds, state.why
    )


def _measuring(cell: Cell, bench: Bench, known: dict[str, float], new: set[str]) -> Measuring:
    trained_first = cell.node is not None and any(node.name in new for node in cell.node.chain)
    tasks = [task.name for task in bench.tasks] if trained_first else bench.pending(cell)
    unknown = tuple(task for task in tasks if task not in known)
    return Measuring(cell.stem, tuple(tasks), sum(known.get(task, 0.0) for task in tasks), unknown)


def _known_seconds(bench: Bench) -> dict[str, float]:
    """Compute each task's mean seconds over the results of this precision in the folder."""
    names = {task.name for task in bench.tasks}
    times: dict[str, list[float]] = {}
    for file in sorted((bench.out / "results").glob(f"*-{bench.dtype}.json")):
        for name, record in Results.load(file).records.items():
            if name in names:
                times.setdefault(name, []).append(record.seconds)
    return {name: statistics.fmean(seconds) for name, seconds in times.items()}


class _Costs:
    """Seconds and steps of stages.

    Poolings and seeds hardly change either, so each stage is measured once per direction.
    """

    def __init__(self, plan: Plan, bench: Bench) -> None:
        self.plan, self.bench = plan, bench
        self._found: dict[str, tuple[float, int]] = {}

    def of(self, node: Node) -> tuple[float, int]:
        recipe = node.recipe
        values = recipe.resolved()
        trained = not isinstance(recipe.pooling, str) or recipe.pooling in (
            "latent_attention",
            "self_attention",
        )
        key = json.dumps(
            [recipe.direction, values["stages"], recipe.pooling if trained else None], default=str
        )
        if key not in self._found:
            # The stage's own start may not exist yet, but the cost depends only on shapes.
            stage = train(
                Recipe.from_values({**values, "base": self.plan.base}),
                dry_run=True,
                device=self.bench.device,
            ).stages[0]
            self._found[key] = (stage.seconds, stage.steps)
        return self._found[key]


def duration(seconds: float) -> str:
    """Write a time for people, for example "90 s", "12 min" or "3.5 h"."""
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


__getattr__ = old_names(__name__)
