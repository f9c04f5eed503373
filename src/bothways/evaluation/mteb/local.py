"""Data sets on this machine as real mteb tasks, for example `mteb-local:sts:PAIRS`.

One of our tasks reads the data, and mteb's own class for its kind scores it. That code shares
nothing with ours except the vectors. So a figure can be computed both ways, and they agree to 1e-9
(tests/parity/test_mteb.py).

If mteb's class has several figures, the main one is that of the adapter's similarity, a cosine
under which equal pairs tie. Seeds are mteb's (42), which our tasks use with `seed=42`. mteb rounds
retrieval measures to five decimals. Here they keep all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bothways.errors import InputError, MissingExtra  # noqa: F401 - MissingExtra is raised by load_mteb
from bothways.evaluation.inputs.labeled_sets import class_numbers
from bothways.evaluation.mteb.folder_data import retrieval_split
from bothways.evaluation.mteb.instructions import PromptStyle
from bothways.evaluation.mteb.library import load_mteb
from bothways.evaluation.mteb.task import MtebTask
from bothways.evaluation.registry import require_argument, task_class
from bothways.evaluation.task import Task
from bothways.evaluation.tasks.classification import Classification
from bothways.evaluation.tasks.clustering import Clustering
from bothways.evaluation.tasks.pairs import PairClassification
from bothways.evaluation.tasks.reranking import Reranking
from bothways.evaluation.tasks.retrieval import Retrieval
from bothways.evaluation.tasks.sts import STS
from bothways.nearest import meant

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks import AbsTask

_SEED = 42
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
# pytrec_eval's names of a query's measures, and mteb's of their means
_MEASURES = {"ndcg_cut": "ndcg_at", "map_cut": "map_at", "recall": "recall_at", "P": "precision_at"}


class LocalTask(MtebTask):
    """The data of one of our tasks in mteb's task for it."""

    kind = "mteb-local"

    def __init__(
        self,
        task: Task,
        *,
        prompts: PromptStyle | None = None,
        instruction: str | None = None,
        name: str | None = None,
    ) -> None:
        """Build the mteb task.

        Args:
            task: an `STS`, `Retrieval`, `Classification`, `Clustering`, `Reranking` or
                `PairClassification`, which has the data.
            prompts: the style in which `instruction` is put before a text ("llm2vec", "nv_embed",
                "e5"). If None, use the prompts stored with the encoder.
            instruction: the task in words, for example "Given a claim, retrieve abstracts that
                support it".
            name: name of the task in results. If None, `mteb-local:` and our task's name.

        Raises:
            InputError: if mteb does not have a task for the kind or for one of its options, or if
                there is an instruction without `prompts`.
            MissingExtra: if mteb is not installed.
        """
        if instruction is not None and prompts is None:
            raise InputError(
                f"{task.name}: instruction needs prompts=STYLE, which sets its form (llm2vec, nv_embed or e5)"
            )
        load_mteb()
        if task.kind not in _BUILDERS:
            raise InputError(
                f"mteb-local: there is no mteb task for {task.kind!r}; {meant(task.kind, _BUILDERS)}choose one of {', '.join(_BUILDERS)}"
            )
        built = _BUILDERS[task.kind](task, instruction)
        super().__init__(
            built,
            name=name or f"mteb-local:{task.name}",
            fingerprint=task.fingerprint,
            prompts=prompts,
        )
        self.settings = {"prompts": prompts, "instruction": instruction, "seed": _SEED}
        if getattr(task, "ignore_identical_ids", False):
            self.settings["ignore_identical_ids"] = True

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        prompts: PromptStyle | None = None,
        instruction: str | None = None,
        split: str = "test",
        ignore_identical_ids: bool = False,
    ) -> LocalTask:
        """Make the task from `mteb-local:KIND:PATH`, for example `mteb-local:sts:stsb?split=dev`.

        `KIND:PATH` is the specification of one of our tasks.

        Args:
            argument: kind and path.
            prompts: see `LocalTask`.
            instruction: see `LocalTask`.
            split: the split of a folder.
            ignore_identical_ids: for retrieval only, see `RankingTask`. ArguAna and Quora need it.

        Raises:
            InputError: if the kind is unknown, if `ignore_identical_ids` is given for another kind,
                and for every reason of the task itself.
        """
        kind, colon, path = require_argument(argument, "mteb-local").partition(":")
        if kind not in _BUILDERS or not colon:
            raise InputError(
                f"mteb-local:{argument}: {meant(kind, _BUILDERS)}write mteb-local:KIND:PATH with KIND one of {', '.join(_BUILDERS)}"
            )
        if ignore_identical_ids and kind != "retrieval":
            raise InputError(
                f"mteb-local:{argument}: ignore_identical_ids is for retrieval only; leave it out"
            )
        chosen: dict[str, Any] = {"ignore_identical_ids": True} if ignore_identical_ids else {}
        task: Any = task_class(kind)
        return cls(
            task.from_argument(path, split=split, **chosen),
            prompts=prompts,
            instruction=instruction,
        )


def _made(
    base: str,
    task: Task,
    kind: str,
    main_score: str,
    dataset: object,
    instruction: str | None,
    **attributes: object,
) -> AbsTask:
    """Make an object of a new subclass of mteb's class `base`, with its data.

    mteb takes a task's description from its class, so each data set is a class with one object.
    """
    import mteb.abstasks as abstasks
    from mteb.abstasks.task_metadata import TaskMetadata

    name = _NOT_IN_NAMES.sub("-", f"local-{task.name}").strip("-")
    metadata = TaskMetadata(
        name=name,
        description=f"{task.name}, read from this machine",
        type=kind,  # type: ignore[arg-type]
        prompt=instruction,
        eval_splits=["test"],
        eval_langs=["und-Zyyy"],  # ISO 639-3 and 15924 for "undetermined"
        main_score=main_score,
        dataset={"path": name, "revision": task.fingerprint},
    )
    made: Any = type(
        "LocalMtebTask", (getattr(abstasks, base),), {"metadata": metadata, **attributes}
    )(seed=_SEED)
    made.dataset = dataset
    made.data_loaded = True
    task_of_mteb: AbsTask = made
    return task_of_mteb


def _dataset(columns: Mapping[str, list[Any]]) -> Dataset:
    import datasets

    made: Dataset = datasets.Dataset.from_dict(dict(columns))
    return made


def _sts(task: STS, instruction: str | None) -> AbsTask:
    pairs = task.pairs
    columns = {
        "sentence1": list(pairs.first),
        "sentence2": list(pairs.second),
        "score": pairs.gold.tolist(),
    }
    # mteb maps gold scores to [0, 1] first, which does not change a correlation
    span = {"min_score": float(pairs.gold.min()), "max_score": float(pairs.gold.max())}
    return _made(
        "AbsTaskSTS", task, "STS", "spearman", {"test": _dataset(columns)}, instruction, **span
    )


def _retrieval(task: Retrieval, instruction: str | None) -> AbsTask:
    split = retrieval_split(task.collection)
    return _made(
        "AbsTaskRetrieval", task, "Retrieval", "ndcg_at_10", {"default": {"test": split}}, instruction,
        ignore_identical_ids=task.ignore_identical_ids, task_specific_scores=_unrounded,
    )  # fmt: skip


def _reranking(task: Reranking, instruction: str | None) -> AbsTask:
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    candidates: dict[str, list[str]] = {}
    for number, row in enumerate(task.queries):
        # trec_eval orders equal scores by descending id, so wrong candidates ("b") come before
        # right ones ("a"), as in our task.
        right = {f"{number:08d}-a{place:06d}": text for place, text in enumerate(row.positive)}
        wrong = {f"{number:08d}-b{place:06d}": text for place, text in enumerate(row.negative)}
        queries[str(number)] = row.query
        corpus |= right | wrong
        relevant[str(number)] = {document: int(document in right) for document in right | wrong}
        candidates[str(number)] = list(right | wrong)
    split = {
        "corpus": _dataset({"id": list(corpus), "text": list(corpus.values())}),
        "queries": _dataset({"id": list(queries), "text": list(queries.values())}),
        "relevant_docs": relevant,
        "top_ranked": candidates,
    }
    return _made(
        "AbsTaskRetrieval", task, "Reranking", "map_at_1000", {"default": {"test": split}}, instruction,
        task_specific_scores=_unrounded,
    )  # fmt: skip


def _unrounded(
    task: object,
    scores: Mapping[str, Mapping[str, float]],
    qrels: object,
    results: object,
    hf_split: str,
    hf_subset: str,
) -> dict[str, float]:
    """Return the means of each query's measures, which replace mteb's rounded ones.

    This is mteb's hook for additional figures of a retrieval task.
    """
    measures: dict[str, list[float]] = {}
    for query in scores.values():
        for measure, value in query.items():
            name, _, cut = measure.rpartition("_")
            if name in _MEASURES:
                measures.setdefault(f"{_MEASURES[name]}_{cut}", []).append(value)
    return {name: sum(values) / len(values) for name, values in measures.items()}


def _classification(task: Classification, instruction: str | None) -> AbsTask:
    if task.method != "logreg" or task.shots == "all" or task.folds is not None:
        raise InputError(
            f"{task.name}: mteb only has a logistic regression on a few texts per class; leave out method, shots and folds"
        )
    numbers = task.numbers.tolist()
    cut = task.trained_on
    parts = {"train": (task.pool[:cut], numbers[:cut]), "test": (task.pool[cut:], numbers[cut:])}
    dataset = {
        split: _dataset({"text": texts, "label": labels})
        for split, (texts, labels) in parts.items()
    }
    return _made(
        "AbsTaskClassification", task, "Classification", "accuracy", dataset, instruction,
        samples_per_label=task.shots, n_experiments=task.experiments,
    )  # fmt: skip


def _clustering(task: Clustering, instruction: str | None) -> AbsTask:
    if task.protocol != "whole" or task.experiments != 1:
        raise InputError(
            f"{task.name}: local data supports mteb's first form of clustering only; leave out protocol and experiments"
        )
    columns: dict[str, list[Any]] = {
        "sentences": [list(part.texts) for part in task.sets],
        "labels": [class_numbers(part.labels, part.numbers)[0] for part in task.sets],
    }
    dataset = {"test": _dataset(columns)}
    return _made("AbsTaskClusteringLegacy", task, "Clustering", "v_measure", dataset, instruction)


def _pairs(task: PairClassification, instruction: str | None) -> AbsTask:
    columns = {"sentence1": task.first, "sentence2": task.second, "labels": task.labels.tolist()}
    dataset = {"test": _dataset(columns)}
    return _made(
        "AbsTaskPairClassification",
        task,
        "PairClassification",
        "similarity_ap",
        dataset,
        instruction,
    )


_BUILDERS: dict[str, Callable[[Any, str | None], AbsTask]] = {
    "sts": _sts,
    "retrieval": _retrieval,
    "classification": _classification,
    "clustering": _clustering,
    "reranking": _reranking,
    "pairs": _pairs,
}
