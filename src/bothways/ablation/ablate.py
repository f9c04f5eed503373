"""Runs an ablation: trains missing encoders, reuses finished ones, measures, writes the table.

    out/  plan.yaml                                 the plan
          bidirectional-mean-mntp-seed0/            a trained encoder, as `bothways.train` leaves it
          results/bi+mntp-mean-seed0-bfloat16.json  its scores, as from `bothways evaluate`
          table.md, table.json                      after each measurement, over complete seeds

This module handles only folders and order. It works seed by seed, so an interrupted ablation leaves
a complete table of fewer seeds. Each encoder is measured as soon as it is trained.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import torch

from bothways.ablation.ablation_plan import Plan, read_plan
from bothways.ablation.ablation_rows import AblationRow, read_rows
from bothways.ablation.forecast import Forecast, forecast, required
from bothways.ablation.grid import STARTS, Grid, Node, expand
from bothways.ablation.measure import Bench
from bothways.ablation.reuse import Inventory
from bothways.ablation.table import AblationTable, Measured, tabulate, whole_seeds
from bothways.atomic import atomic_file, remove_folder, remove_parts
from bothways.backbone.family.families import check_supported
from bothways.backbone.loading.checkpoint_loading import read_config
from bothways.backbone.loading.model_source import locate
from bothways.config import parse
from bothways.data.text_sources import resolve_texts
from bothways.encoder.load import is_encoder, load
from bothways.errors import InputError
from bothways.evaluation.devmetric import dev_metric
from bothways.folder_files import MODULES, OURS
from bothways.foreign import read_object
from bothways.pooling import PoolingConfig
from bothways.training.loop.trainer import train
from bothways.training.stage.folder_lock import locked

log = logging.getLogger("bothways")

Given = Plan | Mapping[str, Any] | str | os.PathLike[str] | None


@overload
def ablate(
    plan: Given = None,
    out: str | os.PathLike[str] | None = None,
    *,
    dry_run: Literal[False] = False,
    retrain: bool = False,
    device: str | torch.device = "auto",
    progress: bool | None = None,
    **choices: object,
) -> AblationTable: ...
@overload
def ablate(
    plan: Given = None,
    out: str | os.PathLike[str] | None = None,
    *,
    dry_run: Literal[True],
    retrain: bool = False,
    device: str | torch.device = "auto",
    progress: bool | None = None,
    **choices: object,
) -> Forecast: ...


def ablate(
    plan: Given = None,
    out: str | os.PathLike[str] | None = None,
    *,
    dry_run: bool = False,
    retrain: bool = False,
    device: str | torch.device = "auto",
    progress: bool | None = None,
    **choices: object,
) -> AblationTable | Forecast:
    """Compare methods and poolings on one base.

    For example ablate(base="smollm2-135m", rows=["uni", "bi+mntp"], tasks=["sts:stsb"],
    out="table").

    Args:
        plan: a YAML file, a mapping, or a `Plan`. If None, `choices` must hold all fields.
        out: folder for encoders, results and tables. Finished parts in it are reused, unfinished
            ones continued.
        dry_run: if True, write nothing and report the work to do and its time.
        retrain: if True, encoders that differ from the plan (recipe, data, library versions) are
            trained again, and results that belong to something else are measured again. If False,
            the first of them is an error.
        device: "auto", "cpu", "cuda", …
        progress: see `bothways.train`.
        **choices: fields of `Plan` that replace the plan's, for example base="smollm2-135m".

    Returns:
        The table, or the forecast of a dry run.

    Raises:
        InputError: if the plan cannot be carried out, which is found before anything is trained, or
            if an encoder in `out` differs from the plan.
        Interrupted: if a signal stopped training. It was saved, and the same call continues.
    """
    chosen = _plan(plan, choices)
    if out is None:
        raise InputError("out: name the folder of the ablation")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the ablation")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "ablate: runs in one process; start it without accelerate launch or torchrun"
        )
    rows = read_rows(chosen)
    _check_base(chosen.base, rows)
    grid = expand(chosen, rows, folder)
    chosen_on = _check_sources(grid)
    bench = Bench(chosen, folder, device=device, retrain=retrain)
    inventory = Inventory(folder)
    if dry_run:
        return forecast(chosen, grid, inventory, bench, retrain=retrain)
    with locked(folder):
        return _Run(
            chosen,
            folder,
            grid,
            inventory,
            bench,
            retrain=retrain,
            progress=progress,
            chosen_on=chosen_on,
        ).table()


def _plan(plan: Given, choices: Mapping[str, Any]) -> Plan:
    given = {name: value for name, value in choices.items() if value is not None}
    if isinstance(plan, (Plan, Mapping)):
        values = plan.resolved() if isinstance(plan, Plan) else plan
        return parse(Plan, {**values, **given}, where="ablation")
    return read_plan(plan, **given)


def _check_base(base: str, rows: Sequence[AblationRow]) -> None:
    """Check, before anything is written, that the base exists and can have the rows' directions."""
    source = locate(base)
    if is_encoder(source):
        raise InputError(f"base: {base} is a finished encoder; an ablation starts from a base LLM")
    if source.kind in ("hub", "folder"):
        config = read_config(source.name, source.path)
        for direction in {row.direction for row in rows}:
            check_supported(config, direction)


def _check_sources(grid: Grid) -> set[str]:
    """Check all sources first, so a wrong name in the last row is found at once, not after hours.

    Returns:
        Fingerprints of the data on which stages choose their checkpoints.
    """
    stages = [node.recipe.stages[0] for node in grid.nodes]
    heldout = [
        source for stage in stages if stage.heldout is not None for source in stage.heldout.sources
    ]
    for source in dict.fromkeys(
        [source for stage in stages for source in stage.data.all_sources] + heldout
    ):
        resolve_texts(source)
    metrics = dict.fromkeys(stage.eval.metric for stage in stages if stage.eval is not None)
    return {dev_metric(metric).task.fingerprint for metric in metrics}


class _Run:
    """One ablation, from the inspection of its folder to its table."""

    def __init__(
        self,
        plan: Plan,
        out: Path,
        grid: Grid,
        inventory: Inventory,
        bench: Bench,
        *,
        retrain: bool,
        progress: bool | None,
        chosen_on: set[str],
    ) -> None:
        self.plan, self.out, self.grid, self.inventory, self.bench = (
            plan,
            out,
            grid,
            inventory,
            bench,
        )
        self.retrain, self.progress, self.chosen_on = retrain, progress, chosen_on

    def table(self) -> AblationTable:
        """Do all the work in order, and return the table."""
        self._refuse_others()
        self._refuse_differing()
        self.out.mkdir(parents=True, exist_ok=True)
        remove_parts(self.out)
        with atomic_file(self.out / "plan.yaml") as part:
            part.write_text(self.plan.to_yaml(), encoding="utf-8")
        found: list[Measured] = []
        table = None
        for cell in self.grid.cells:
            if cell.node is not None:
                self._ensure(cell.node)
            results = self.bench.measure(cell)
            file = self.bench.file(cell).relative_to(self.out).as_posix()
            found.append(Measured(cell, results.main, self._minutes(cell.node), file))
            whole = whole_seeds(self.grid.cells, found)
            facts = (self.plan.base, self.plan.resolved(), self.bench.tasks)
            table = tabulate(*facts, whole, self.grid.left_out, self.chosen_on)
            table.save(self.out)
        self.bench.close()
        if table is None:  # pragma: no cover - `expand` refuses a grid without cells
            raise InputError("rows: nothing to measure")
        return table

    def _refuse_others(self) -> None:
        """Refuse folders that are not training runs of this library. They are never removed."""
        for node in required(self.grid, self.inventory):
            folder = self.out / node.name
            state = self.inventory.state(node)
            if state.kind == "differs" and not (
                folder.is_dir() and (folder / "recipe.yaml").is_file()
            ):
                raise InputError(
                    f"{folder}: is not a training run, so it is not touched; choose another folder for the ablation"
                )

    def _refuse_differing(self) -> None:
        if self.retrain:
            return
        for node in required(self.grid, self.inventory):
            state = self.inventory.state(node)
            if state.kind == "differs":
                raise InputError(
                    f"{self.out / node.name}: cannot be reused: {state.why}; restore that, choose another folder, "
                    "or train it again (--retrain)"
                )
        for cell in self.grid.cells:
            if cell.node is None or self.inventory.state(cell.node).kind == "finished":
                self.bench.taken(cell)  # this also refuses results that belong to other data

    def _ensure(self, node: Node) -> None:
        """Train a node unless it is finished."""
        state = self.inventory.state(node)
        if state.kind == "finished":
            return
        if node.parent is not None:
            self._ensure(node.parent)
            state = self.inventory.state(node)
        self.bench.close()
        folder = self.out / node.name
        start = self.out / STARTS / node.name
        if state.kind == "differs":
            log.info("training %s again: %s", node.name, state.why)
            # Remove results first: a kill in between must not leave them with an encoder that they
            # do not belong to.
            self.bench.drop(self.grid, node)
            shutil.rmtree(start, ignore_errors=True)
            remove_folder(folder)
        if node.repooled and not (start / MODULES).is_file():
            self._repool(node, start)
        log.info("%s %s", "continuing" if state.kind == "begun" else "training", node.name)
        train(
            node.recipe,
            folder,
            resume=folder.exists(),
            device=self.bench.device,
            progress=self.progress,
        )
        shutil.rmtree(start, ignore_errors=True)
        self.inventory.forget(node)

    def _repool(self, node: Node, start: Path) -> None:
        """Copy the encoder that a node starts from, with the node's pooling."""
        if node.parent is None:
            raise RuntimeError(f"{node.name}: starts from the base and does not need a copy")
        encoder = load(self.out / node.parent.name, device="cpu", dtype=node.recipe.save_dtype)
        encoder.pooling = PoolingConfig.of(node.recipe.pooling).build(encoder.hidden_size)
        encoder.save(start, dtype=node.recipe.save_dtype, replace=True)

    def _minutes(self, node: Node | None) -> float:
        """Sum the training time of all stages of an encoder, in minutes."""
        if node is None:
            return 0.0
        facts = read_object(self.out / node.name / OURS)
        return sum(float(stage.get("seconds", 0.0)) for stage in facts.get("stages") or ()) / 60
