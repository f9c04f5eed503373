"""MTEB's own tasks by name, for example `mteb:SciFact` and `mteb:subset15`.

Their data comes from the Hugging Face hub or its local cache. It is fetched when the task is made,
at the revision that mteb pins. If the hub does not answer, only the cache is used. Otherwise the
libraries would retry for half a minute for each data set before they look there. With `folder` it
comes from a folder on this machine, see `folder_data`.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.errors import InputError, MissingExtra, SourceError  # noqa: F401 - MissingExtra is raised by load_mteb
from bothways.evaluation.inputs.named_data import data_fingerprint
from bothways.evaluation.mteb.folder_data import load_folder
from bothways.evaluation.mteb.instructions import PromptStyle
from bothways.evaluation.mteb.library import load_mteb, mteb_version, quiet_datasets
from bothways.evaluation.mteb.task import MtebTask
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task
from bothways.nearest import meant

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder

# The 15 tasks on which LLM2Vec compares its stages and poolings (BehnamGhader et al. 2024,
# arXiv 2404.05961), with MTEB's names and in their first versions. Of the two multilingual sets
# only the English part is used, which STS17 calls "en-en".
SUBSET15: tuple[tuple[str, tuple[str, ...] | None], ...] = (
    ("SciFact", None),
    ("ArguAna", None),
    ("NFCorpus", None),
    ("StackOverflowDupQuestions", None),
    ("SciDocsRR", None),
    ("BiorxivClusteringS2S", None),
    ("MedrxivClusteringS2S", None),
    ("TwentyNewsgroupsClustering", None),
    ("SprintDuplicateQuestions", None),
    ("Banking77Classification", None),
    ("EmotionClassification", None),
    ("MassiveIntentClassification", ("en",)),
    ("STS17", ("en-en",)),
    ("SICK-R", None),
    ("STSBenchmark", None),
)
_SUITES = {"subset15": SUBSET15}
_SECONDS = 10  # the hub counts as not reachable if it does not answer within this time


class HubTask(MtebTask):
    """A task of mteb's list."""

    def __init__(
        self,
        task_name: str,
        *,
        prompts: PromptStyle | None = None,
        subsets: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        name: str | None = None,
    ) -> None:
        """Find the task and fetch its data.

        Args:
            task_name: mteb's name, for example "SciFact".
            prompts: whose task instructions to use ("llm2vec", "nv_embed", "e5"). If None, use the
                prompts stored with the encoder.
            subsets: mteb's names of the parts (languages) to run. If None, run all.
            splits: splits to run. If None, run "test" as the leaderboards do, or all splits of a
                task without one.
            cache: folder of results, see `MtebTask`. For example, mteb's own, ~/.cache/mteb.
            folder: folder of the data, see `folder_data`. If None, the hub.
            name: name of the task in results. If None, `mteb:NAME`.

        Raises:
            InputError: if mteb does not have the task, subset or split, if the task is not about
                text alone, or if the folder's data is not the task's.
            SourceError: if the data is neither in the cache nor available from the hub, or if there
                is no such folder.
            MissingExtra: if mteb is not installed.
        """
        task = find_task(task_name, subsets, splits)
        if folder is None:
            for part in _leaves(task):
                _load(part)
            data = [[part.metadata.name, dict(part.metadata.dataset)] for part in _leaves(task)]
        elif cache is not None:
            raise InputError(
                f"mteb:{task_name}: cache belongs to data from the hub; leave it out, or leave folder out"
            )
        else:
            data = [[task_name, load_folder(task, Path(folder).expanduser())]]
        chosen = data_fingerprint([data, list(task.hf_subsets), list(task.eval_splits)])
        super().__init__(
            task, name=name or f"mteb:{task_name}", fingerprint=chosen, prompts=prompts, cache=cache
        )

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        prompts: PromptStyle | None = None,
        subsets: tuple[str, ...] | None = None,
        splits: tuple[str, ...] | None = None,
        cache: str | None = None,
        folder: str | None = None,
    ) -> Task:
        """Make the task from `mteb:TASK`, or LLM2Vec's 15 tasks from `mteb:subset15`.

        For example, `mteb:STS17?subsets=en-en&cache=results` keeps finished results for other runs
        in the folder `results`.

        Args:
            argument: the name of a task or a suite.
            prompts: see `HubTask`.
            subsets: see `HubTask`. A suite has fixed subsets.
            splits: see `HubTask`. A suite has fixed splits.
            cache: see `HubTask`.
            folder: see `HubTask`. A suite of several tasks does not have one.

        Raises:
            InputError: if there are subsets, splits or a folder for a suite, and see `HubTask`.
        """
        name = require_argument(argument, "mteb")
        if name not in _SUITES:
            return cls(
                name, prompts=prompts, subsets=subsets, splits=splits, cache=cache, folder=folder
            )
        if folder is not None:
            raise InputError(
                f"mteb:{name} has the data of several tasks; name them one by one with folder=DIR, or leave folder out"
            )
        if subsets or splits:
            raise InputError(
                f"mteb:{name} has fixed subsets and splits; leave them out, or name the tasks one by one"
            )
        parts = tuple(
            cls(task, prompts=prompts, subsets=part, cache=cache) for task, part in _SUITES[name]
        )
        return Suite(parts, name=f"mteb:{name}")


class Suite(Task):
    """Several mteb tasks and their plain mean (main: `average`), as in the tables of the papers."""

    kind = "mteb"
    main = "average"

    def __init__(self, parts: Sequence[MtebTask], *, name: str) -> None:
        """Keep the tasks.

        Args:
            parts: the tasks, which may also be run one by one.
            name: name of the suite in results.
        """
        self.parts = tuple(parts)
        self.name = name
        self.fingerprint = data_fingerprint([part.fingerprint for part in self.parts])
        self.settings = {part.name: dict(part.settings) for part in self.parts}

    @classmethod
    def from_argument(cls, argument: str | None) -> Task:
        """Make a task from its name. See `HubTask.from_argument`, which also knows the suites."""
        return HubTask.from_argument(argument)

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Run each task in turn, then take their mean.

        An error of one task ends the run. `options.work` keeps the finished ones.
        """
        scores = {
            part.task.metadata.name: part.measure(encoder, options, keep=options.work)
            for part in self.parts
        }
        metrics = {name: score.metrics[MtebTask.main] for name, score in scores.items()}
        average = statistics.fmean(metrics.values())
        return Score(
            {"average": average, **metrics},
            {"tasks": {name: score.details for name, score in scores.items()}},
        )


def find_task(
    task_name: str, subsets: Sequence[str] | None = None, splits: Sequence[str] | None = None
) -> Any:
    """Find an mteb task by name, without its data. See `HubTask` for arguments and errors."""
    mteb = load_mteb()
    try:
        task = mteb.get_task(task_name)
    except KeyError as error:
        told = str(error.args[0]).removeprefix("KeyError: ")
        raise InputError(
            f"mteb:{task_name}: mteb {mteb_version()} does not have this task: {told} (suites: {', '.join(_SUITES)})"
        ) from None
    metadata = task.metadata
    if list(metadata.modalities) != ["text"]:
        raise InputError(
            f"mteb:{task_name} needs {', '.join(metadata.modalities)}; encoders here take text alone"
        )
    for part, asked, known in (
        ("subset", subsets, metadata.hf_subsets),
        ("split", splits, metadata.eval_splits),
    ):
        unknown = next((name for name in asked or () if name not in known), None)
        if unknown is not None:
            raise InputError(
                f"mteb:{task_name} does not have the {part} {unknown!r}; {meant(unknown, known)}choose from: {', '.join(known)}"
            )
    if splits is None and "test" in metadata.eval_splits:
        splits = ("test",)
    if task.is_aggregate:
        for part in metadata.tasks:
            part.filter_eval_splits(splits)
    task.filter_eval_splits(splits)
    return task if subsets is None else task.filter_languages(None, hf_subsets=list(subsets))


def _leaves(task: Any) -> Iterator[Any]:
    """Yield the tasks that have data.

    This is the task itself, or the parts of an aggregate (CQADupstack).
    """
    if not task.is_aggregate:
        yield task
        return
    for part in task.metadata.tasks:
        yield from _leaves(part)


def _load(task: Any) -> None:
    if task.data_loaded:
        return
    metadata = task.metadata
    silent = _silence(metadata.dataset["path"])
    with quiet_datasets(), _cache_only() if silent else nullcontext():
        # `datasets` lets errors of four libraries through. All mean that the data is unavailable.
        try:
            task.load_data()
        except Exception as error:
            place = f"data set {metadata.dataset['path']} at revision {metadata.dataset['revision'][:12]}"
            fault = (
                f"the Hugging Face hub did not answer ({silent}) and the cache lacks its"
                if silent
                else "cannot load its"
            )
            why = "" if silent else f" ({_line(error)})"
            raise SourceError(
                f"mteb:{metadata.name}: {fault} {place}{why}; connect, or fill the cache (HF_HOME) on a connected machine, "
                "or score your own files with mteb-local:KIND:PATH"
            ) from error


def _silence(dataset: str) -> str | None:
    """Return the reason why the hub does not answer about a data set, or None if it answers."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # HfHubHTTPError is an answer of the hub. All errors of the HTTP client below it mean silence.
    try:
        HfApi().dataset_info(dataset, timeout=_SECONDS)
    except HfHubHTTPError:
        return None  # the hub answered. Loading will report the problem with the data set
    except Exception as error:
        return _line(error)
    return None


@contextmanager
def _cache_only() -> Iterator[None]:
    """Set HF_HUB_OFFLINE=1 inside the block.

    The libraries read the variable only once, when they are imported, so their own values are set.
    """
    import datasets.config
    import huggingface_hub.constants

    switches = ((huggingface_hub.constants, "HF_HUB_OFFLINE"), (datasets.config, "HF_HUB_OFFLINE"))
    before = [getattr(module, name) for module, name in switches]
    for module, name in switches:
        setattr(module, name, True)
    try:
        yield
    finally:
        for (module, name), value in zip(switches, before):
            setattr(module, name, value)


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
