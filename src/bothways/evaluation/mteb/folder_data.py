"""Data of mteb's own tasks from folders on this machine, for example `mteb:STS12?folder=sts12-sts`.

A folder is a copy of the task's repository on the hub, or another folder that `datasets` reads
with the same splits and columns. A retrieval task also takes BEIR's layout. The task, its protocol
and what it does to its data stay mteb's.

A copy of a repository comes from
`hf download mteb/sts12-sts --repo-type dataset --local-dir data/sts12-sts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bothways.digest import file_sha256
from bothways.errors import InputError, SourceError
from bothways.evaluation.inputs.beir_collection import read_beir
from bothways.evaluation.inputs.named_data import data_fingerprint
from bothways.evaluation.mteb.library import quiet_datasets
from bothways.evaluation.tasks.retrieval import JudgedCollection
from bothways.foreign import foreign


def load_folder(task: Any, folder: Path) -> str:
    """Load the data of an mteb task from a folder.

    The task then says that its data is this folder, at a revision that is its fingerprint. So mteb
    never takes results on other data for these.

    Args:
        task: an mteb `AbsTask`, not loaded, with the subsets and splits that it is to run.
        folder: the folder.

    Returns:
        The fingerprint of the folder's files.

    Raises:
        InputError: if the task joins several data sets, or if the folder's data is not the task's.
        SourceError: if there is no such folder.
    """
    metadata = task.metadata
    name, repository = str(metadata.name), str(metadata.dataset["path"])
    if task.is_aggregate:
        parts = ", ".join(str(part.metadata.name) for part in metadata.tasks)
        raise InputError(
            f"mteb:{name}: joins {parts}; give a folder for each of them, or leave folder out"
        )
    copy = f"hf download {repository} --repo-type dataset --local-dir {folder}"
    if not folder.is_dir():
        raise SourceError(f"mteb:{name}: {folder}: no such folder; copy the data with: {copy}")
    digest = data_fingerprint([[file.name, file_sha256(file)] for file in _files(folder)])

    def located(path: str) -> Any:
        dataset = {**metadata.dataset, "path": path, "revision": digest}
        return metadata.model_copy(update={"dataset": dataset})

    task.metadata = located(str(folder.absolute()))
    remedy = f"copy the task's own data with: {copy}"
    with quiet_datasets(), foreign(folder, f"cannot be read as mteb's {name}", remedy):
        if metadata.type == "Retrieval":
            splits = {
                split: retrieval_split(read_beir(folder, split)) for split in task.eval_splits
            }
            task.dataset = {"default": splits}
            task.dataset_transform()
            task.data_loaded = True
        else:
            task.load_data()
    task.metadata = located(folder.name)
    for lacking in _lacking(task):
        raise InputError(f"{folder}: lacks {lacking} of mteb's {name}; {remedy}")
    return digest


def retrieval_split(collection: JudgedCollection) -> dict[str, Any]:
    """Return a collection as one split of an mteb retrieval task."""
    from datasets import Dataset

    def table(texts: dict[str, str]) -> Dataset:
        return Dataset.from_dict({"id": list(texts), "text": list(texts.values())})

    return {
        "corpus": table(collection.corpus),
        "queries": table(collection.queries),
        "relevant_docs": {query: dict(grades) for query, grades in collection.qrels.items()},
        "top_ranked": None,
    }


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder in order, without hidden ones, which downloads leave behind."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _lacking(task: Any) -> Iterator[str]:
    """Yield the splits and columns that the loaded data of a task does not have."""
    parts = task.dataset
    if not all(isinstance(part, dict) for part in parts.values()):
        parts = {"default": parts}
    trained = getattr(task, "train_split", None)
    wanted = [*task.eval_splits, *([trained] if trained else [])]
    for subset in task.hf_subsets:
        if subset not in parts:
            yield f"the part {subset!r}"
    for subset, splits in parts.items():
        where = "" if subset == "default" else f" of {subset}"
        for split in wanted:
            if split not in splits:
                yield f"the split {split!r}{where}"
                continue
            known = getattr(splits[split], "column_names", None)
            if known is None:
                continue
            for column in _columns(task):
                if column not in known:
                    yield f"the column {column!r} in the split {split!r}{where}"


def _columns(task: Any) -> list[str]:
    """Return the names of the columns that a task reads, as its class says them."""
    pair = getattr(task, "column_names", None)
    if pair is not None:  # of AbsTaskSTS
        return [*pair, "score"]
    named = [name for name in dir(type(task)) if name.endswith("column_name")]
    columns = [getattr(task, name) for name in named]
    return [column for column in columns if isinstance(column, str)]
