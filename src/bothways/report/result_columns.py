"""Groups results into columns: the same measurement on the same data, regardless of its path.

Every table and difference depends on this. Two scores are compared only if their data has the same
fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from bothways.errors import InputError
from bothways.evaluation.registry import task_class
from bothways.evaluation.results import Record
from bothways.report.material import ReportedModel

Better = Literal["higher", "lower", "neither"]

# A model is measured with the prompts it was trained with. They do not make it another task.
_OF_THE_MODEL = ("prompt", "instruction")


@dataclass(frozen=True)
class Column:
    """One task over all models.

    Attributes:
        name: short name, unique in the report.
        task: name in the first results file.
        kind: kind of the task.
        metric: its main metric.
        data: fingerprint of the data.
        better: which end of the metric is good.
        records: outcomes by label of the models that have them.
    """

    name: str
    task: str
    kind: str
    metric: str
    data: str
    better: Better
    records: Mapping[str, Record]

    @property
    def scale(self) -> float:
        """The factor for printing.

        It is 100 for measures that rank and lie in [-1, 1], as is usual in the field, else 1.
        """
        small = all(abs(record.metrics[self.metric]) <= 1 for record in self.records.values())
        return 100.0 if self.better == "higher" and small else 1.0

    def score(self, label: str) -> float | None:
        """Return a model's main score as it was recorded, or None if it was not measured."""
        record = self.records.get(label)
        return None if record is None else record.metrics[self.metric]


def align(models: Sequence[ReportedModel]) -> list[Column]:
    """Group the models' records into columns, in the order in which tasks first appear."""
    found: dict[tuple[Any, ...], dict[str, tuple[str, Record]]] = {}
    for model in models:
        for task, record in model.records.items():
            key: tuple[Any, ...] = (record.kind, record.main, record.data, _options(record))
            if model.label in found.get(key, {}):
                # One model has the same data twice: only the name tells the difference.
                key = (*key, task)
            found.setdefault(key, {})[model.label] = (task, record)
    tasks = [next(iter(cells.values()))[0] for cells in found.values()]
    kinds = [key[0] for key in found]
    names = short_names(tasks, kinds, [key[2] for key in found])
    return [
        Column(
            name,
            task,
            str(key[0]),
            str(key[1]),
            str(key[2]),
            better(str(key[0]), str(key[1])),
            {label: record for label, (_, record) in cells.items()},
        )
        for name, task, (key, cells) in zip(names, tasks, found.items())
    ]


def _options(record: Record) -> str:
    """Write the options that could have changed the score, for comparison."""
    kept = {
        name: value
        for name, value in record.options.items()
        if not any(word in name for word in _OF_THE_MODEL)
    }
    return json.dumps(kept, sort_keys=True, default=str)


def better(kind: str, metric: str) -> Better:
    """Tell which end of a main metric is good.

    A kind that this version does not know is shown but never ranked.
    """
    if "perplexity" in metric or metric.endswith("loss"):
        return "lower"
    try:
        return "higher" if task_class(kind).higher_is_better else "neither"
    except InputError:
        return "neither"


def short_names(tasks: Sequence[str], kinds: Sequence[str], data: Sequence[str]) -> list[str]:
    """Shorten the tasks' paths by their common parts, and keep them unique.

    For example `sts:../data/stsb/dev.jsonl` becomes `stsb/dev`.
    """
    stems = [_stem(task, kind) for task, kind in zip(tasks, kinds)]
    names = ["/".join(parts[-2:]) for parts in stems]
    for depth in range(3, 2 + max((len(parts) for parts in stems), default=0)):
        names = [
            "/".join(parts[-depth:]) if _shared(names, kinds, i) else name
            for i, (name, parts) in enumerate(zip(names, stems))
        ]
    told = [
        f"{name} [{data[i][:6]}]" if _shared(names, kinds, i) else name
        for i, name in enumerate(names)
    ]
    told = [f"{name} ({kinds[i]})" if told.count(name) > 1 else name for i, name in enumerate(told)]
    return [
        f"{name} #{told[: i + 1].count(name)}" if told.count(name) > 1 else name
        for i, name in enumerate(told)
    ]


def _shared(names: Sequence[str], kinds: Sequence[str], i: int) -> bool:
    """Tell if another task of the same kind has the same name."""
    return sum(name == names[i] and kind == kinds[i] for name, kind in zip(names, kinds)) > 1


def _stem(task: str, kind: str) -> list[str]:
    place, _, options = task.removeprefix(f"{kind}:").partition("?")
    path = PurePosixPath(place.replace("\\", "/"))
    name = path.name
    for suffix in (".gz", ".jsonl", ".json", ".tsv", ".csv", ".txt", ".parquet"):
        name = name.removesuffix(suffix)
    if options:
        name = f"{name} {options}"
    return [part for part in (*path.parts[:-1], name) if part not in ("/", ".", "..", "")] or [task]
