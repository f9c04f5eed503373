"""An mteb task as one of our tasks.

`evaluate` runs it, and the result records mteb's numbers and the data they belong to.
"""

from __future__ import annotations

import math
import os
import statistics
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.errors import InputError, MissingExtra  # noqa: F401 - MissingExtra is raised by load_mteb
from bothways.evaluation.mteb.adapter import MtebEncoder
from bothways.evaluation.mteb.instructions import PromptStyle
from bothways.evaluation.mteb.library import load_mteb, mteb_version, quiet_datasets
from bothways.evaluation.task import RunOptions, Score, Task

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

    from bothways.search.vectors import AnyEncoder


class MtebTask(Task):
    """One task of mteb with its data loaded.

    `main_score` is the metric by which mteb ranks models on it.
    """

    kind = "mteb"
    main = "main_score"

    def __init__(
        self,
        task: AbsTask,
        *,
        name: str,
        fingerprint: str,
        prompts: PromptStyle | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        """Keep a task.

        Args:
            task: an mteb `AbsTask`, loaded.
            name: name of the task in results.
            fingerprint: fingerprint of its data.
            prompts: whose task instructions to use ("llm2vec", "nv_embed", "e5"). If None, use the
                prompts stored with the encoder.
            cache: folder of results in mteb's own layout. Results of the same weights, settings and
                prompts are taken from it, and new ones are added, subset by subset. If None,
                everything is measured and nothing is kept.
        """
        self.task = task
        self.name = name
        self.fingerprint = fingerprint
        self.prompts: PromptStyle | None = prompts
        self.cache = cache
        self.settings = {
            "prompts": prompts,
            "splits": list(task.eval_splits),
            "subsets": list(task.hf_subsets),
        }

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Run the task in mteb. See `Task.run` and `measure`."""
        return self.measure(encoder, options)

    def measure(
        self, encoder: AnyEncoder, options: RunOptions, *, keep: Path | None = None
    ) -> Score:
        """Run the task in mteb.

        Args:
            encoder: see `Task.run`.
            options: see `Task.run`.
            keep: cache for a task without one of its own. It is ignored for an encoder without
                weights, because its results could not be recognized later.

        Raises:
            InputError: if the encoder does not have `encode`, if its vectors are not finite, or if
                there is a cache and the encoder does not have weights to recognize it by.
            MissingExtra: if mteb is not installed.
        """
        mteb = load_mteb()
        adapter = MtebEncoder(encoder, prompts=self.prompts, options=options)
        known = (self.cache or keep) is not None and adapter.mteb_model_meta.revision is not None
        if self.cache is not None and not known:
            raise InputError(
                f"{self.name}: cache={self.cache}, but {type(encoder).__name__} does not have weights to recognize its results by; "
                "leave out cache"
            )
        with quiet_datasets():
            found = mteb.evaluate(
                adapter,
                self.task,
                co2_tracker=False,
                cache=mteb.ResultCache(self.cache or keep) if known else None,
                overwrite_strategy="only-missing",
                encode_kwargs={"show_progress_bar": False},
                show_progress_bar=False,
            )
        return score_of(found.task_results[0], self.task)


def score_of(result: Any, task: Any) -> Score:
    """Convert an `mteb.TaskResult` of `task` to a `Score`.

    A cached result may hold more splits and subsets than the task. A score that is undefined (NaN,
    a correlation with constant cosines) counts as 0, with a warning, as in `sts.pearson`.

    Args:
        result: the result.
        task: the mteb task.

    Returns:
        Metrics: `main_score`, the plain mean over splits and subsets, and
            `main_score[split/subset]` if there are several of them. Details: type, name of the main
            metric, mteb's version, and under `scores` every number that mteb reports.
    """
    metadata = task.metadata
    rows = {
        (split, row["hf_subset"]): row
        for split, found in result.scores.items()
        for row in found
        if task.is_aggregate or (split in task.eval_splits and row["hf_subset"] in task.hf_subsets)
    }
    mains = {
        place: _defined(float(row["main_score"]), metadata.name) for place, row in rows.items()
    }
    metrics = {"main_score": statistics.fmean(mains.values())}
    if len(mains) > 1:
        metrics |= {
            f"main_score[{split}/{subset}]": value for (split, subset), value in mains.items()
        }
    details = {
        "type": str(metadata.type),
        "metric": metadata.main_score,
        "mteb": mteb_version(),
        "scores": {f"{split}/{subset}": _numbers(row) for (split, subset), row in rows.items()},
    }
    return Score(metrics, details)


def _defined(value: float, name: str) -> float:
    if math.isfinite(value):
        return value
    warnings.warn(
        f"{name}: the main score is undefined for these vectors and counts as 0",
        RuntimeWarning,
        stacklevel=3,
    )
    return 0.0


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    numbers = {
        key: value
        for key, value in row.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    return {key: float(value) for key, value in numbers.items() if math.isfinite(value)}
