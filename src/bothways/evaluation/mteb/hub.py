"""MTEB's own tasks by name, their data from the Hugging Face hub or its local cache: `mteb:SciFact`, `mteb:subset15`.

Data is fetched when the task is made, at the revision that mteb pins. Where the hub does not answer, only the cache is asked: the
libraries would otherwise spend half a minute on retries for each data set before they look there.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from bothways.errors import InputError, MissingExtra, SourceError  # noqa: F401 - MissingExtra is raised by load_mteb
from bothways.evaluation.inputs.named_data import fingerprint
from bothways.evaluation.mteb.instructions import Style
from bothways.evaluation.mteb.library import load_mteb, mteb_version, quiet_datasets
from bothways.evaluation.mteb.task import MtebTask
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score, Task

# The 15 tasks on which LLM2Vec compares its stages and poolings (BehnamGhader et al. 2024, arXiv 2404.05961), in MTEB's names and
# first versions; of the two multilingual sets the English part, and STS17's is called "en-en".
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
_SECONDS = 10  # how long the hub may take to answer before it counts as not reachable


class HubTask(MtebTask):
    """A task of mteb's list."""

    def __init__(
        self,
        task_name: str,
        *,
        prompts: Style | None = None,
        subsets: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        name: str | None = None,
    ) -> None:
        """Find the task and fetch its data.

        Args:
            task_name: mteb's name.
            prompts: whose task instructions to use; None for those stored with the encoder.
            subsets: mteb's names of the parts (languages) to run; None for all.
            splits: None for "test", as the leaderboards have it, or all splits of a task without one.
            cache: folder of results, see `MtebTask`; mteb's own, ~/.cache/mteb, or any other.
            name: what results call the task; `mteb:NAME` by default.

        Raises:
            InputError: mteb has no such task, subset or split, or the task is not about text alone.
            SourceError: the data is neither in the cache nor to be had from the hub.
            MissingExtra: mteb is not installed.
        """
        task = find_task(task_name, subsets, splits)
        for part in _leaves(task):
            _load(part)
        data = [[part.metadata.name, dict(part.metadata.dataset)] for part in _leaves(task)]
        chosen = fingerprint([data, list(task.hf_subsets), list(task.eval_splits)])
        super().__init__(task, name=name or f"mteb:{task_name}", fingerprint=chosen, prompts=prompts, cache=cache)

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        prompts: Style | None = None,
        subsets: tuple[str, ...] | None = None,
        splits: tuple[str, ...] | None = None,
        cache: str | None = None,
    ) -> Task:
        """`mteb:TASK`, or `mteb:subset15` for LLM2Vec's 15 tasks; `cache=FOLDER` keeps the finished ones for other runs too.

        Args:
            argument: the name of a task or a suite.
            prompts, subsets, splits, cache: see `HubTask`; a suite fixes its subsets and splits.

        Raises:
            InputError: subsets or splits for a suite, and what `HubTask` raises.
        """
        name = require_argument(argument, "mteb")
        if name not in _SUITES:
            return cls(name, prompts=prompts, subsets=subsets, splits=splits, cache=cache)
        if subsets or splits:
            raise InputError(f"mteb:{name}: fixes its subsets and splits; for others name the tasks one by one")
        parts = tuple(cls(task, prompts=prompts, subsets=part, cache=cache) for task, part in _SUITES[name])
        return Suite(parts, name=f"mteb:{name}")


class Suite(Task):
    """Several mteb tasks whose plain mean (main: `average`) stands for them, as in the tables of the papers."""

    kind = "mteb"
    main = "average"

    def __init__(self, parts: Sequence[MtebTask], *, name: str) -> None:
        """Hold the tasks; `parts` may be run one by one as well."""
        self.parts = tuple(parts)
        self.name = name
        self.fingerprint = fingerprint([part.fingerprint for part in self.parts])
        self.settings = {part.name: dict(part.settings) for part in self.parts}

    @classmethod
    def from_argument(cls, argument: str | None) -> Task:
        """See `HubTask.from_argument`, which knows the suites by name."""
        return HubTask.from_argument(argument)

    def run(self, encoder: Any, options: RunOptions) -> Score:
        """Each task in turn, then their mean; what a task raises ends the run, and `options.work` keeps what is finished."""
        scores = {part.task.metadata.name: part.measure(encoder, options, keep=options.work) for part in self.parts}
        metrics = {name: score.metrics[MtebTask.main] for name, score in scores.items()}
        average = statistics.fmean(metrics.values())
        return Score({"average": average, **metrics}, {"tasks": {name: score.details for name, score in scores.items()}})


def find_task(task_name: str, subsets: Sequence[str] | None = None, splits: Sequence[str] | None = None) -> Any:
    """An mteb task by name, without its data; see `HubTask` for arguments and errors."""
    mteb = load_mteb()
    try:
        task = mteb.get_task(task_name)
    except KeyError as error:
        told = str(error.args[0]).removeprefix("KeyError: ")
        raise InputError(
            f"mteb:{task_name}: mteb {mteb_version()} has no such task: {told} (suites: {', '.join(_SUITES)})"
        ) from None
    metadata = task.metadata
    if list(metadata.modalities) != ["text"]:
        raise InputError(f"mteb:{task_name}: is about {', '.join(metadata.modalities)}; encoders here take text alone")
    for what, asked, known in (("subset", subsets, metadata.hf_subsets), ("split", splits, metadata.eval_splits)):
        unknown = next((name for name in asked or () if name not in known), None)
        if unknown is not None:
            raise InputError(f"mteb:{task_name}: no {what} {unknown!r}; it has: {', '.join(known)}")
    if splits is None and "test" in metadata.eval_splits:
        splits = ("test",)
    if task.is_aggregate:
        for part in metadata.tasks:
            part.filter_eval_splits(splits)
    task.filter_eval_splits(splits)
    return task if subsets is None else task.filter_languages(None, hf_subsets=list(subsets))


def _leaves(task: Any) -> Iterator[Any]:
    """The tasks that have data: the task itself, or those that an aggregate (CQADupstack) is made of."""
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
        # `datasets` lets errors of four libraries through; all mean that the data cannot be had
        try:
            task.load_data()
        except Exception as error:
            place = f"data set {metadata.dataset['path']} at revision {metadata.dataset['revision'][:12]}"
            what = f"the Hugging Face hub was not reached ({silent}) and the cache lacks its" if silent else "cannot load its"
            why = "" if silent else f" ({_line(error)})"
            raise SourceError(
                f"mteb:{metadata.name}: {what} {place}{why}; connect, or fill the cache (HF_HOME) on a machine that is, "
                "or score your own files with mteb-local:KIND:PATH"
            ) from error


def _silence(dataset: str) -> str | None:
    """Why the hub does not answer when asked about a data set; None if it does."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # whichever http client huggingface_hub is built on, its errors are not those that the hub sends
    try:
        HfApi().dataset_info(dataset, timeout=_SECONDS)
    except HfHubHTTPError:
        return None  # it answered; what is wrong with the data set, loading it will say
    except Exception as error:
        return _line(error)
    return None


@contextmanager
def _cache_only() -> Iterator[None]:
    """What HF_HUB_OFFLINE=1 does, for a while: the libraries read it once, when they are imported."""
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
