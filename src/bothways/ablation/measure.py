"""Measurements of a cell: its encoder opened under its pooling, its results file, and whether that file says everything already.

It stands apart because a second look at a finished ablation must cost seconds: a results file that belongs to the encoder on the
disk, on the same data with the same options, is taken without loading the encoder.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bothways.ablation.grid import Cell, Grid, Node
from bothways.ablation.plan import Plan, pooling_label, pooling_value
from bothways.ablation.rows import frame
from bothways.backbone.hardware import resolve_device, resolve_dtype
from bothways.backbone.sources import resolve
from bothways.encoder.convert import load
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.language_model.language_task import LanguageModelTask
from bothways.evaluation.provenance import describe
from bothways.evaluation.registry import make_task, task_class
from bothways.evaluation.results import Results
from bothways.evaluation.resume import finished
from bothways.evaluation.specification import parse
from bothways.evaluation.task import Task
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.stage_setup import open_llm

log = logging.getLogger("bothways")

SEED = 0
"""Of metrics that draw at random: one for all, so that the spread over seeds is that of training."""
MARK = "ablation"
"""Key in a results file's provenance under which the cell and its encoder stand."""
PRECISIONS = ("float32", "bfloat16", "float16")


class Bench:
    """Measures the cells of one plan in one folder.

    Args:
        plan: base, tasks and precision.
        out: folder of the ablation; results go to `out`/results.
        device: where encoders run.
        retrain: results of another encoder, or on other data, are measured anew instead of refused.

    Raises:
        InputError: a task that is unknown, unreadable, or measures no encoder.
    """

    def __init__(self, plan: Plan, out: Path, *, device: str | torch.device, retrain: bool) -> None:
        self.plan, self.out, self.retrain = plan, out, retrain
        self.device = resolve_device(device)
        self.dtype = str(resolve_dtype(plan.dtype, self.device)).removeprefix("torch.")
        self.tasks: Sequence[Task] = [_encoder_task(spec) for spec in plan.tasks]
        self._open: tuple[str, Encoder] | None = None

    def file(self, cell: Cell, dtype: str | None = None) -> Path:
        """The results file of a cell."""
        return self.out / "results" / f"{cell.stem}-{dtype or self.dtype}.json"

    def taken(self, cell: Cell) -> Results | None:
        """What the results file says, if it belongs to the encoder as it lies on the disk; no encoder is loaded.

        Raises:
            InputError: a task was measured on other data or with other options, and nothing is to be measured anew.
        """
        file = self.file(cell)
        if not file.exists():
            return None
        results = Results.load(file)
        told = results.provenance
        if told.get(MARK, {}).get("encoder") != self.identity(cell):
            return None
        try:
            finished(file, self.tasks, model=told.get("model", {}), seed=SEED)
        except InputError:
            if self.retrain:
                return None
            raise
        return results

    def pending(self, cell: Cell) -> list[str]:
        """Tasks that are still to be measured; all of them where the file belongs to another encoder, or to one not known."""
        results = self.taken(cell)
        return [task.name for task in self.tasks if results is None or task.name not in results]

    def measure(self, cell: Cell) -> Results:
        """Scores of a cell, each task written to the results file when it is finished."""
        known = self.taken(cell)
        if known is not None and all(task.name in known for task in self.tasks):
            return known
        file = self.file(cell)
        encoder = self._encoder(cell)
        resume = file.exists()
        if resume:
            try:
                finished(file, self.tasks, model=describe(encoder), seed=SEED)
            except InputError as error:
                if not self.retrain:
                    raise InputError(f"{error} (an ablation measures it anew with --retrain)") from None
                log.info("measured anew: %s", error)
                resume = False
        log.info("measuring %s", cell.stem)
        results = evaluate(encoder, list(self.tasks), seed=SEED, out=file, resume=resume)
        mark = {
            "row": cell.row.label,
            "pooling": pooling_label(cell.pooling),
            "trained_pooling": None if cell.trained is None else pooling_label(cell.trained),
            "seed": cell.seed,
            "folder": None if cell.node is None else cell.node.name,
            "encoder": self.identity(cell),
        }
        results = Results(results.records, {**results.provenance, MARK: mark})
        results.save(file)
        return results

    def drop(self, grid: Grid, node: Node) -> None:
        """Remove the results of every encoder that goes through a node, which is to be trained anew."""
        for cell in grid.cells:
            if cell.node is not None and node in cell.node.chain:
                for dtype in PRECISIONS:
                    self.file(cell, dtype).unlink(missing_ok=True)

    def close(self) -> None:
        """Give back the memory of the encoder that was measured last."""
        self._open = None

    def identity(self, cell: Cell) -> str:
        """SHA-256 (hex) of what tells one encoder's files from another's: no weights are read."""
        facts = [pooling_label(cell.pooling), cell.row.direction, frame(cell.row.recipe), self.dtype]
        if cell.node is None:
            return _digest([*facts, self.plan.base, _files(self.plan.base)])
        note = self.out / cell.node.name / "bothways.json"
        return _digest([*facts, note.read_text(encoding="utf-8") if note.is_file() else None])

    def _encoder(self, cell: Cell) -> Encoder:
        """The encoder under the cell's pooling; the one measured before serves again where only its pooling differs."""
        place = cell.row.direction if cell.node is None else cell.node.name
        if self._open is None or self._open[0] != place or cell.pooling.trained:
            self._open = None  # the old one goes before the new one comes
            self._open = (place, self._load(cell))
        encoder = self._open[1]
        if not cell.pooling.fits(encoder.pooling, encoder.hidden_size):
            encoder.pooling = cell.pooling.build(encoder.hidden_size).to(encoder.device)
        return encoder

    def _load(self, cell: Cell) -> Encoder:
        if cell.node is not None:
            return load(self.out / cell.node.name, device=self.device, dtype=self.dtype)
        # what the first stage of a row would start from: with the recipe's prompts, so that rows differ in what they are named for
        own = {"base": self.plan.base, "direction": cell.row.direction, "pooling": pooling_value(cell.pooling)}
        recipe = Recipe.from_values({**cell.row.recipe.resolved(), **own}, where=f"row {cell.row.label}")
        return open_llm(recipe, recipe.base, False, device=self.device, dtype=self.dtype, rope=recipe.rope)


def _encoder_task(spec: str) -> Task:
    if issubclass(task_class(parse(spec).kind, spec), LanguageModelTask):
        raise InputError(f"task {spec!r}: measures a language model, and the rows are encoders; use bothways evaluate")
    return make_task(spec)


def _files(base: str) -> list[list[Any]]:
    """Name, size and time of a local base's files; a base that was replaced is opened and looked at again."""
    source = resolve(base)
    path = Path(source.path)
    if source.kind not in ("folder", "gguf"):
        return []
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
