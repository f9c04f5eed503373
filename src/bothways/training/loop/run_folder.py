"""The output folder of a run: prepared before training, cleaned if nothing was trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from accelerate import Accelerator

from bothways.atomic import atomic_file, remove_parts
from bothways.errors import InputError
from bothways.foreign import foreign
from bothways.locks import sweep
from bothways.training.recipe.recipe import Recipe, as_resolved_now
from bothways.training.recipe.recipe_changes import changed_keys
from bothways.training.stage.overwrite import RECIPE, is_run, remove_run
from bothways.training.stage.product import remove_part

METRICS = "metrics.jsonl"


def prepare_folder(
    recipe: Recipe, out: Path, accelerator: Accelerator, *, resume: bool, overwrite: bool
) -> None:
    """Check the content of the output folder, and write the recipe with all defaults into it.

    Args:
        recipe: the run.
        out: its folder.
        accelerator: its processes. All must call this function.
        resume: continue the run that is there, if there is one.
        overwrite: remove an earlier run that is there. Has no effect with `resume`.

    Raises:
        InputError: if the folder holds something else, or a run of another recipe.
    """
    again = overwrite and not resume and is_run(out)
    accelerator.wait_for_everyone()
    if again and accelerator.is_main_process:
        remove_run(out, _inputs(recipe))
    stored = out / RECIPE
    if accelerator.is_main_process:
        sweep(stored)  # a run that was killed at its very beginning has left nothing else
    accelerator.wait_for_everyone()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder for the trained encoder")
    if not again and out.exists() and any(out.iterdir()):
        _check_resumable(recipe, out, resume=resume)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        remove_part(out)
        # Of a run that was killed while it wrote. The folder is locked, so no other run is writing.
        remove_parts(out)
        with atomic_file(stored) as part:
            part.write_text(recipe.to_yaml(), encoding="utf-8")
    accelerator.wait_for_everyone()


def _check_resumable(recipe: Recipe, out: Path, *, resume: bool) -> None:
    stored = out / RECIPE
    if not resume:
        raise InputError(
            f"{out}: already exists and is not empty; resume or overwrite it, or choose another folder"
        )
    if not stored.exists():
        raise InputError(
            f"{out}: holds no recipe.yaml, so there is no run to resume; choose another folder"
        )
    with foreign(
        stored, "is not the recipe that a run wrote", "restore it, or train into another folder"
    ):
        changed = changed_keys(
            as_resolved_now(yaml.safe_load(stored.read_text(encoding="utf-8"))), recipe.resolved()
        )
    if changed:
        raise InputError(
            f"{out}: the recipe has changed since this run began: {'; '.join(changed)}; restore it, or train into another folder"
        )


def _inputs(recipe: Recipe) -> list[str]:
    """List the names of everything that a run reads: its base, its adapter, its data."""
    sources = [source for stage in recipe.stages for source in stage.data.all_sources]
    return [recipe.base, *([recipe.base_adapter] if recipe.base_adapter else []), *sources]


@contextmanager
def traceless(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Leave no folder in the way of the next run, if the block fails before anything is trained.

    Causes are a wrong base, data that does not fit, or a signal while the model loads.
    """
    created = not folder.exists()
    fresh = not (folder.is_dir() and any(folder.iterdir()))
    try:
        yield
    except BaseException:
        if fresh and accelerator.is_main_process and folder.is_dir() and not _has_trained(folder):
            for name in (METRICS, RECIPE):
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                if created:
                    folder.rmdir()
        raise


def _has_trained(folder: Path) -> bool:
    """Tell if a run's folder holds more than its recipe and a log without a step."""
    names = {each.name for each in folder.iterdir()}
    log_file = folder / METRICS
    return not names <= {RECIPE, METRICS} or (
        log_file.is_file() and '"loss"' in log_file.read_text(encoding="utf-8")
    )
