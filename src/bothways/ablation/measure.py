"""Measures a cell: opens its encoder under its pooling and writes its results file.

Repeating a finished ablation must take only seconds. So a results file of the same encoder, on the
same data with the same options, is used without loading the encoder.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bothways.ablation.ablation_plan import Plan, pooling_label, pooling_value
from bothways.ablation.ablation_rows import recipe_frame
from bothways.ablation.grid import Cell, Grid, Node
from bothways.backbone.hardware import resolve_device, resolve_dtype
from bothways.backbone.loading.model_source import resolve
from bothways.encoder.encoder import Encoder
from bothways.encoder.load import load
from bothways.errors import InputError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.language_model.language_task import LanguageModelTask
from bothways.evaluation.provenance import describe_encoder
from bothways.evaluation.registry import make_task, task_class
from bothways.evaluation.results import Results
from bothways.evaluation.resume import finished
from bothways.evaluation.specification import parse_specification
from bothways.evaluation.task import Task
from bothways.folder_files import OURS
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.product import ENCODER

log = logging.getLogger("bothways")

SEED = 0
"""Seed of metrics that draw at random. It is fixed, so that only training differs by seed."""
MARK = "ablation"
"""Key in a results file's provenance for the cell and its encoder."""
PRECISIONS = ("float32", "bfloat16", "float16")


class Bench:
    """Measures the cells of one plan in one folder.

    Args:
        plan: base, tasks and precision.
        out: folder of the ablation. Results go to `out`/results.
        device: device on which encoders run.
        retrain: if True, results of another encoder or on other data are measured again. If False,
            they are refused.

    Raises:
        InputError: if a task is unknown or unreadable, or if it does not measure an encoder.
    """

    def __init__(self, plan: Plan, out: Path, *, device: str | torch.device, retrain: bool) -> None:
        self.plan, self.out, self.retrain = plan, out, retrain
        self.device = resolve_device(device)
        self.dtype = str(resolve_dtype(plan.dtype, self.device)).removeprefix("torch.")
        self.tasks: Sequence[Task] = [_encoder_task(spec) for spec in plan.tasks]
        self._open: tuple[str, Encoder] | None = None

    def file(self, cell: Cell, dtype: str | None = None) -> Path:
        """Return the path of a cell's results file."""
        return self.out / "results" / f"{cell.stem}-{dtype or self.dtype}.json"

    def taken(self, cell: Cell) -> Results | None:
        """Read the results file if it belongs to the encoder on disk, without loading the encoder.

        Raises:
            InputError: if a task was measured on other data or with other options, and `retrain` is
                False.
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
        """List the tasks still to measure.

        If the file belongs to another encoder or to an unknown one, these are all tasks.
        """
        results = self.taken(cell)
        return [task.name for task in self.tasks if results is None or task.name not in results]

    def measure(self, cell: Cell) -> Results:
        """Measure a cell. Each task is written to the results file when it is finished."""
        known = self.taken(cell)
        if known is not None and all(task.name in known for task in self.tasks):
            return known
        file = self.file(cell)
        encoder = self._encoder(cell)
        resume = file.exists()
        if resume:
            try:
                finished(file, self.tasks, model=describe_encoder(encoder), seed=SEED)
            except InputError as error:
                if not self.retrain:
                    raise InputError(
                        f"{error} (an ablation measures it again with --retrain)"
                    ) from None
                log.info("measuring again: %s", error)
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
        """Remove the results of every encoder based on a node, which is to be trained again."""
        for cell in grid.cells:
            if cell.node is not None and node in cell.node.chain:
                for dtype in PRECISIONS:
                    self.file(cell, dtype).unlink(missing_ok=True)

    def close(self) -> None:
        """Free the memory of the encoder that was measured last."""
        self._open = None

    def identity(self, cell: Cell) -> str:
        """Compute a SHA-256 (hex) that identifies an encoder's files, without reading weights."""
        facts = [
            pooling_label(cell.pooling),
            cell.row.direction,
            recipe_frame(cell.row.recipe),
            self.dtype,
        ]
        if cell.node is None:
            return _digest([*facts, self.plan.base, _files(self.plan.base)])
        note = self.out / cell.node.name / OURS
        return _digest([*facts, note.read_text(encoding="utf-8") if note.is_file() else None])

    def _encoder(self, cell: Cell) -> Encoder:
        """Open the encoder under the cell's pooling.

        If only the pooling differs, reuse the last encoder.
        """
        place = cell.row.direction if cell.node is None else cell.node.name
        if self._open is None or self._open[0] != place or cell.pooling.trained:
            self._open = None  # free the old one before the new one is loaded
            self._open = (place, self._load(cell))
        encoder = self._open[1]
        if not cell.pooling.fits(encoder.pooling, encoder.hidden_size):
            encoder.pooling = cell.pooling.build(encoder.hidden_size).to(encoder.device)
        return encoder

    def _load(self, cell: Cell) -> Encoder:
        if cell.node is not None:
            return load(self.out / cell.node.name, device=self.device, dtype=self.dtype)
        # This is the encoder that the first stage of a row would start from, with the recipe's
        # prompts. So rows differ only in the things that they are named for.
        own = {
            "base": self.plan.base,
            "direction": cell.row.direction,
            "pooling": pooling_value(cell.pooling),
        }
        recipe = Recipe.from_values(
            {**cell.row.recipe.resolved(), **own}, where=f"row {cell.row.label}"
        )
        return ENCODER.convert(
            recipe.base, recipe, device=self.device, dtype=self.dtype, rope=recipe.rope
        )


def _encoder_task(spec: str) -> Task:
    if issubclass(task_class(parse_specification(spec).kind, spec), LanguageModelTask):
        raise InputError(
            f"task {spec!r}: measures a language model, but the rows are encoders; use bothways evaluate"
        )
    return make_task(spec)


def _files(base: str) -> list[list[Any]]:
    """List name, size and time of a local base's files, so that a replaced base is noticed."""
    source = resolve(base)
    path = Path(source.path)
    if source.kind not in ("folder", "gguf"):
        return []
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [
        [file.name, file.stat().st_size, file.stat().st_mtime_ns]
        for file in files
        if file.is_file()
    ]


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
