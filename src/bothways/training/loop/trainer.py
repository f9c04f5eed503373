"""Run a recipe: its stages one after the other, each from the encoder that the stage before it saved.

    out/  config.json, model.safetensors, modules.json, bothways.json, …    the last stage's encoder (or language model: no modules)
          recipe.yaml          every value, defaults included
          metrics.jsonl        loss, rate, speed, dev metric, collapse watch
          stages/1-mntp/       encoders of the stages before the last
          checkpoints/1-mntp/step-00000100/
          adapters/1-mntp/     what a stage trained, apart from the base; with `keep: adapter` all that it leaves

It stands apart because folders, resuming and precision are the same for every objective. On Accelerate: devices, processes, trackers
(https://huggingface.co/docs/accelerate); start it with `accelerate launch` for several processes.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin

from bothways.atomic import atomic_file, remove_parts
from bothways.backbone.hardware import resolve_device
from bothways.data.sources import resolve_texts
from bothways.encoder.convert import load
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.evaluation.devmetric import dev_metric
from bothways.foreign import foreign
from bothways.locks import sweep
from bothways.training.loop import precision
from bothways.training.loop.checkpoints import Checkpoints
from bothways.training.loop.metrics import MetricsLog
from bothways.training.loop.optimizer_step import trainable_parameters
from bothways.training.loop.stage_run import StageRun
from bothways.training.parallel import sharding
from bothways.training.parallel.parallel_request import Launch, hidden, requested
from bothways.training.recipe.recipe import Recipe, as_resolved_now, binding, changed_keys
from bothways.training.stage import stage_output as finish
from bothways.training.stage.estimate import DryRun, estimate
from bothways.training.stage.folder_lock import occupied
from bothways.training.stage.kept_adapters import describe_kept
from bothways.training.stage.later_stages import check_later, check_negatives
from bothways.training.stage.overwrite import is_run, remove_run
from bothways.training.stage.stage_data import GivenTexts, read_stage_data
from bothways.training.stage.stage_setup import open_heldout, open_llm, open_stage, ready, stage_output

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

    Args:
        recipe: what to do.
        out: output folder; absent or empty unless resuming.
        resume: continue what lies in `out`; starts from the beginning where nothing lies there yet.
        dry_run: write nothing; return sizes, steps, and time and memory measured on single micro-batches.
        texts: data in memory, in place of the recipe's sources: texts, or `Example`s for a supervised stage; one list for all
            stages, or lists by stage name.
        device: "auto", "cpu", "cuda", …; under `accelerate launch` each process has its own.
        progress: show a bar (plain lines without a terminal); None: when it takes long.
        overwrite: begin again where `out` holds an earlier run, whose files are removed; not with `resume`.

    Returns:
        The last stage's encoder, read back from `out` (a trained language model as a causal one); or the estimate.

    Raises:
        InputError: a recipe that cannot be run, a folder in the way, a resumed recipe that has changed (the keys are named), or a
            launcher that splits the model in a way that is not supported (see `training.parallel.parallel_request`).
        SourceError: a model or data source that cannot be found.
        Interrupted: stopped by a signal, after saving.
        Diverged: loss or gradient is not finite.
        Collapse: the vectors collapsed, where the stage is to stop then.
    """
    _check_sources(recipe, texts)
    launch = requested(recipe, dry_run=dry_run)
    with hidden():
        accelerator = _accelerator(recipe, resolve_device(device), None if dry_run or out is None else Path(out))
        if dry_run:
            return estimate(recipe, accelerator, texts)
        if out is None:
            raise InputError("out: name the folder that the trained encoder goes to")
        folder = Path(out)
        with occupied(folder) if accelerator.is_main_process else nullcontext():
            _run(recipe, folder, accelerator, launch, resume=resume, overwrite=overwrite, texts=texts, progress=progress)
        # what had to be split need not fit on one device
        place = accelerator.device if launch.sharding is None else torch.device("cpu")
        if recipe.stages[-1].objective.language_model:
            return open_llm(recipe, str(folder), True, device=place, dtype=recipe.dtype)
        return load(folder, device=place, dtype=recipe.dtype)


def _run(
    recipe: Recipe,
    folder: Path,
    accelerator: Accelerator,
    launch: Launch,
    *,
    resume: bool,
    overwrite: bool,
    texts: GivenTexts,
    progress: bool | None,
) -> None:
    """All stages that are not finished yet."""
    with _traceless(folder, accelerator):
        again = overwrite and not resume and is_run(folder)
        accelerator.wait_for_everyone()
        if again and accelerator.is_main_process:
            remove_run(folder, _starts(recipe))
        _prepare_folder(recipe, folder, resume=resume, again=again, accelerator=accelerator)
        if finish.is_finished(folder, language_model=recipe.stages[-1].objective.language_model):
            return
        _start_trackers(recipe, accelerator)
        metrics = MetricsLog(folder / "metrics.jsonl", accelerator)
        offset, first = 0, True
        for index in range(len(recipe.stages)):
            stage = recipe.stages[index]
            kind = stage.objective.language_model
            if finish.is_finished(stage_output(recipe, index, folder), language_model=kind):
                log.info("stage %s is finished", stage.name)
                offset += max(Checkpoints(_checkpoint_folder(recipe, index, folder), keep=1).steps(), default=0)
                continue
            runner = _Runner(recipe, index, folder, accelerator, launch, metrics, texts, progress, first)
            first = False
            offset += runner.run(resume=resume, offset=offset)
        for tracker in accelerator.trackers:
            tracker.finish()


@contextmanager
def _traceless(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """A run that ends before it has trained anything leaves no folder in the way of the next one: a wrong base, data that does not
    fit, a signal while the model loads.
    """
    made = not folder.exists()
    fresh = not (folder.is_dir() and any(folder.iterdir()))
    try:
        yield
    except BaseException:
        if fresh and accelerator.is_main_process and folder.is_dir() and not _has_trained(folder):
            for name in ("metrics.jsonl", "recipe.yaml"):
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                if made:
                    folder.rmdir()
        raise


def _has_trained(folder: Path) -> bool:
    """Whether a run's folder holds more than its recipe and a log without a step."""
    names = {each.name for each in folder.iterdir()}
    log_file = folder / "metrics.jsonl"
    return not names <= {"recipe.yaml", "metrics.jsonl"} or (
        log_file.is_file() and '"loss"' in log_file.read_text(encoding="utf-8")
    )


@dataclass
class _Runner:
    """One stage from opening its start to saving its end."""

    recipe: Recipe
    index: int
    out: Path
    accelerator: Accelerator
    launch: Launch
    metrics: MetricsLog
    given: GivenTexts
    progress: bool | None
    first: bool

    def run(self, *, resume: bool, offset: int) -> int:
        """Train and save the stage; the number of its steps."""
        recipe, index = self.recipe, self.index
        stage = recipe.stages[index]
        data = read_stage_data(stage, self.given)
        check_negatives(stage, data.items)
        sources = stage.data.all_sources if self.given is None else ()
        chosen = precision.choose(recipe.dtype, self.accelerator.device, adapter=stage.adapter is not None)
        split, accelerator = self.launch.sharding, self.accelerator
        first = accelerator.device if split is None else torch.device("cpu")
        encoder = open_stage(recipe, index, self.out, device=first, dtype=chosen.weights)
        if self.first:
            check_later(recipe, index, encoder, self.given, processes=accelerator.num_processes)
        place = None if split is None else partial(sharding.shard, sharding=split, accelerator=accelerator)
        with ready(recipe, index, encoder, chosen, place) as objective:
            examples = data.first(objective.prepare(data.items, encoder))
            run = StageRun(
                recipe,
                index,
                encoder,
                objective,
                # a language model has no vectors to watch
                [] if stage.objective.language_model else data.texts,
                examples,
                data.laid_out(len(examples)),
                dev_metric(stage.eval.metric, rows=data.items) if stage.eval is not None else None,
                open_heldout(stage, encoder, objective, data.held_out, seed=recipe.seed),
                self.accelerator,
                _checkpoint_folder(recipe, index, self.out),
                self.metrics,
                facts={
                    "recipe": recipe.fingerprint(),
                    "texts": data.fingerprint,
                    "processes": self.accelerator.num_processes,
                },
                offset=offset,
                progress=self.progress,
                refresher=None if stage.refresh is None else stage.refresh.build(data.items, seed=recipe.seed, sources=sources),
                zero=self.launch.zero,
            )
            state = run.train(resume=resume)
        trainable = sum(parameter.numel() for parameter in trainable_parameters(encoder, objective).values())
        head = getattr(objective, "head", None) if stage.objective.language_model else None
        # memory for the float32 copy that the adapter is merged into
        del run, objective
        whole = None if split is None else sharding.trained_state(encoder, keep=accelerator.is_main_process)
        if accelerator.is_main_process:
            encoder, difference = finish.merge_stage(recipe, index, encoder, self.out, data.texts, whole)
            finish.record(encoder, recipe, index, data, state, trainable, difference)
            describe_kept(encoder, recipe, index, self.out)
            if head is not None:
                finish.save_trained_llm(encoder, head, recipe, index, self.out)
            else:
                finish.save_stage(encoder, stage_output(recipe, index, self.out), recipe, index)
        self.accelerator.wait_for_everyone()
        return state.step


def _starts(recipe: Recipe) -> list[str]:
    """Names of what a run reads: its base, an adapter, data."""
    sources = [source for stage in recipe.stages for source in stage.data.all_sources]
    return [recipe.base, *([recipe.base_adapter] if recipe.base_adapter else []), *sources]


def _checkpoint_folder(recipe: Recipe, index: int, out: Path) -> Path:
    return out / "checkpoints" / recipe.stage_folder(index)


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
            dev_metric(stage.eval.metric)


def _accelerator(recipe: Recipe, device: torch.device, out: Path | None) -> Accelerator:
    trackers: Any = list(recipe.trackers) if out is not None else []
    try:
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            # precision and accumulation are this trainer's: a scale or a division from the launcher's settings would be applied twice
            mixed_precision="no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            log_with=trackers or None,
            project_dir=str(out) if out is not None else None,
        )
    except (ValueError, ImportError) as error:
        raise InputError(f"trackers {list(recipe.trackers)}: {str(error).splitlines()[0]}") from error
    given, found = device, accelerator.device
    if accelerator.num_processes == 1 and (given.type, given.index or 0) != (found.type, found.index or 0):
        raise InputError(
            f"device: {given} was asked for and Accelerate gives {found}, once per process and for good; choose a GPU with "
            "CUDA_VISIBLE_DEVICES, and another kind of device in a new process"
        )
    if accelerator.num_processes > 1:
        atexit.unregister(_leave)
        atexit.register(_leave, accelerator)
    return accelerator


def _leave(accelerator: Accelerator) -> None:
    """End the process group, which a script that trains several times keeps until its end.

    A thread of gloo that lets go of its last tensor while the interpreter is torn down asks for the GIL in vain and aborts the process.
    It lives as long as anything refers to the group, as caches of sharded tensors do; a moment without the GIL lets it finish first.
    """
    accelerator.state.destroy_process_group()
    time.sleep(0.2)


def _start_trackers(recipe: Recipe, accelerator: Accelerator) -> None:
    if not recipe.trackers:
        return
    if len(accelerator.trackers) == 0 and len(accelerator.log_with) < len(recipe.trackers):
        known = [str(getattr(each, "value", each)) for each in accelerator.log_with]
        raise InputError(f"trackers: {sorted(set(recipe.trackers) - set(known))} not installed; pip install 'bothways[track]'")
    plain = {
        key: value if isinstance(value, (int, float, str, bool)) else str(value)
        for key, value in binding(recipe.resolved()).items()
    }
    accelerator.init_trackers("bothways", config=plain)


def _prepare_folder(recipe: Recipe, out: Path, *, resume: bool, again: bool, accelerator: Accelerator) -> None:
    """Check what lies in the output folder, unless a run there begins `again`, and leave the resolved recipe there."""
    stored = out / "recipe.yaml"
    if accelerator.is_main_process:
        sweep(stored)  # a run that was killed at its very beginning has left nothing else
    accelerator.wait_for_everyone()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder for the trained encoder")
    if not again and out.exists() and any(out.iterdir()):
        if not resume:
            raise InputError(f"{out}: already exists and is not empty; resume or overwrite it, or choose another folder")
        if not stored.exists():
            raise InputError(f"{out}: holds no recipe.yaml, so there is no run to resume; choose another folder")
        with foreign(stored, "is not the recipe that a run wrote", "restore it, or train into another folder"):
            changed = changed_keys(as_resolved_now(yaml.safe_load(stored.read_text(encoding="utf-8"))), recipe.resolved())
        if changed:
            raise InputError(
                f"{out}: the recipe has changed since this run began: {'; '.join(changed)}; restore it, or train into another folder"
            )
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        finish.remove_part(out)
        remove_parts(out)  # of a run that was killed while it wrote; no other one is at work here
        with atomic_file(stored) as part:
            part.write_text(recipe.to_yaml(), encoding="utf-8")
    accelerator.wait_for_everyone()
