"""Runs a recipe: its stages one after the other, each from the product of the stage before.

    out/  config.json, model.safetensors, modules.json, …   the final encoder
          recipe.yaml          every value, defaults included
          metrics.jsonl        loss, learning rate, speed, dev metric, collapse watch
          stages/1-mntp/       encoders of the stages before the last
          checkpoints/1-mntp/step-00000100/
          adapters/1-mntp/     the adapter that a stage trained; with `keep: adapter` nothing else

The path of one batch: `stage_runner.py` builds a `StageRun` (`stage_run.py`), which calls a
`Stepper` (`optimizer_step.py`), which calls the objective. Hooks (`training/hooks/`) follow each
step.
"""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, overload

import torch
from accelerate import Accelerator

from bothways.backbone.hardware import resolve_device
from bothways.data.text_sources import resolve_texts
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.evaluation import devmetric
from bothways.training.loop.accelerator_setup import build_accelerator, start_trackers
from bothways.training.loop.checkpoints import Checkpoints
from bothways.training.loop.metrics import MetricsLog
from bothways.training.loop.run_context import RunContext
from bothways.training.loop.run_folder import METRICS, prepare_folder, traceless
from bothways.training.loop.stage_runner import train_stage
from bothways.training.parallel.parallel_request import hidden, requested
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.estimate import DryRun, estimate
from bothways.training.stage.folder_lock import locked
from bothways.training.stage.product import product_of
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_data import GivenTexts, read_stage_data

log = logging.getLogger("bothways")


@overload
def train(
    recipe: Recipe,
    out: str | os.PathLike[str],
    resume: bool = False,
    dry_run: Literal[False] = False,
    *,
    texts: GivenTexts = None,
    device: str | torch.device = "auto",
    progress: bool | None = None,
    overwrite: bool = False,
) -> Encoder: ...
@overload
def train(
    recipe: Recipe,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    *,
    dry_run: Literal[True],
    texts: GivenTexts = None,
    device: str | torch.device = "auto",
    progress: bool | None = None,
    overwrite: bool = False,
) -> DryRun: ...


def train(
    recipe: Recipe,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    dry_run: bool = False,
    *,
    texts: GivenTexts = None,
    device: str | torch.device = "auto",
    progress: bool | None = None,
    overwrite: bool = False,
) -> Encoder | DryRun:
    """Train an encoder.

    For example, `train(recipes.llm2vec(texts="my.txt"), "out")`.

    Args:
        recipe: the stages, and the base that they start from.
        out: output folder. It must be absent or empty unless you resume or overwrite.
        resume: continue the run in `out`. If there is none yet, start from the beginning.
        dry_run: write nothing. Return sizes, steps, and the time and memory of single
            micro-batches.
        texts: data in memory, in place of the recipe's sources: texts, or `Example`s for a
            supervised stage. Either one list for all stages, or a mapping from stage names to
            lists.
        device: "auto", "cpu", "cuda" and so on. Under `accelerate launch` each process has its own.
        progress: show a bar, or plain lines without a terminal. If None, only when it takes long.
        overwrite: start again if `out` holds an earlier run. Its files are removed. Do not combine
            it with `resume`.

    Returns:
        The last stage's encoder, read back from `out`, or the estimate of a dry run. A trained
            language model is returned as a causal encoder.

    Raises:
        InputError: if the recipe cannot be run, if the folder is not empty, if a resumed recipe has
            changed (the message names the keys), or if the launcher splits the model in a way that
            is not supported (see `training.parallel.parallel_request`).
        SourceError: if a model or a data source cannot be found.
        Interrupted: if a signal stopped the run. Everything is saved.
        Diverged: if the loss or the gradient is not finite.
        Collapse: if the vectors collapsed and the stage is to stop then.
    """
    _check_sources(recipe, texts)
    parallel = requested(dry_run=dry_run)
    with hidden():
        accelerator = build_accelerator(
            recipe, resolve_device(device), None if dry_run or out is None else Path(out)
        )
        if dry_run:
            return estimate(recipe, accelerator, texts)
        if out is None:
            raise InputError("out: name the folder that the trained encoder goes to")
        folder = Path(out)
        run = RunContext(
            accelerator=accelerator,
            parallel=parallel,
            metrics=MetricsLog(folder / METRICS, accelerator),
            texts=texts,
            progress=progress,
        )
        with locked(folder) if run.main else nullcontext():
            _train_stages(
                StageContext.all_of(recipe, folder), run, resume=resume, overwrite=overwrite
            )
        # A model that had to be split need not fit on one device.
        place = accelerator.device if parallel.sharding is None else torch.device("cpu")
        product = product_of(recipe.stages[-1])
        return product.open(folder, recipe, following=product, device=place, dtype=recipe.dtype)


def _train_stages(
    stages: list[StageContext], run: RunContext, *, resume: bool, overwrite: bool
) -> None:
    """Train all stages that are not finished yet."""
    recipe, out = stages[0].recipe, stages[0].run_folder
    accelerator: Accelerator = run.accelerator
    with traceless(out, accelerator):
        prepare_folder(recipe, out, accelerator, resume=resume, overwrite=overwrite)
        if product_of(stages[-1].stage).finished(out):
            return
        start_trackers(recipe, accelerator)
        offset, first = 0, True
        for context in stages:
            if product_of(context.stage).finished(context.output):
                log.info("stage %s is finished", context.name)
                offset += max(Checkpoints(context.checkpoint_folder, keep=1).steps(), default=0)
                continue
            offset += train_stage(context, run, resume=resume, offset=offset, check_others=first)
            first = False
        for tracker in accelerator.trackers:
            tracker.finish()


def _check_sources(recipe: Recipe, given: GivenTexts) -> None:
    """Find a wrong name in the last stage before the first one has run for hours."""
    for stage in recipe.stages:
        sources = stage.data.all_sources if given is None else ()
        sources += stage.heldout.sources if stage.heldout is not None else ()
        if stage.refresh is not None and stage.refresh.corpus is not None:
            sources += (stage.refresh.corpus,)
        if stage.data.mine is not None and stage.data.mine.corpus is not None:
            sources += (stage.data.mine.corpus,)
        for source in sources:
            resolve_texts(source)
        if given is not None:
            read_stage_data(stage, given)
        if stage.eval is not None:
            devmetric.dev_metric(stage.eval.metric)
