"""Reads the inputs of a report: results files of `bothways evaluate`, and folders of training runs.

Only this file opens files and reports errors in them. All other modules work on values in memory.

A source is a results file, a run's folder (metrics.jsonl, recipe.yaml), or a folder that holds
results files. A run's folder may hold some too. `NAME=PATH` names the model. Results under one name
are joined. So are files about the same model (equal description and fingerprint) with different
measurements.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bothways.errors import InputError
from bothways.evaluation.results import Record, Results
from bothways.folder_files import OURS
from bothways.foreign import read_json
from bothways.moved import old_names

_METRICS = "metrics.jsonl"
_FORMAT = "bothways-results-"


@dataclass
class ReportedModel:
    """One row of the tables: an encoder with all its measurements.

    Attributes:
        label: unique name in the report.
        records: outcomes by task name.
        sources: each results file with its provenance, in the order given.
    """

    label: str
    records: dict[str, Record] = field(default_factory=dict)
    sources: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingRun:
    """A training run.

    Attributes:
        label: unique name in the report.
        folder: the folder that it was read from.
        lines: lines of metrics.jsonl: `stage`, `number`, `step` and numbers.
        recipe: text of recipe.yaml. Empty if there is none.
        facts: bothways.json of the trained encoder. Empty if there is none.
    """

    label: str
    folder: str
    lines: list[dict[str, Any]]
    recipe: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Material:
    """All inputs of a report."""

    models: list[ReportedModel]
    runs: list[TrainingRun]


def gather(sources: Iterable[str | os.PathLike[str]]) -> Material:
    """Read results files and run folders.

    For example gather(["uni=a.json", "bi=b.json", "runs/mntp"]).

    Raises:
        InputError: if there is no source, if a file does not exist or has another format, if a
            folder holds nothing to report, if a run has a broken line, or if one given name has two
            results of one task.
    """
    files: list[tuple[str | None, Path]] = []
    runs: list[TrainingRun] = []
    for source in sources:
        name, path = _named(os.fspath(source))
        if not path.is_dir():
            files.append((name, path))
            continue
        found = _results_in(path)
        files += [(name, file) for file in found]
        if (path / _METRICS).is_file():
            runs.append(_read_run(path, name))
        elif not found:
            raise InputError(
                f"{path}: contains neither {_METRICS} of a training run nor a results file"
            )
    if not files and not runs:
        raise InputError(
            "nothing to report; name results files of `bothways evaluate --out` or folders of training runs"
        )
    return Material(_models(files), _unique_runs(runs))


def _named(source: str) -> tuple[str | None, Path]:
    """Split `NAME=PATH` at the first equals sign. An existing path is not split."""
    name, sign, rest = source.partition("=")
    if sign and name and rest and not Path(source).exists():
        return name, Path(rest)
    return None, Path(source)


def _results_in(folder: Path) -> list[Path]:
    """List the results files directly in a folder, but not other JSON files such as configs."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            with path.open(encoding="utf-8") as stream:
                head = stream.read(200)
        except (OSError, UnicodeDecodeError):
            continue
        if f'"{_FORMAT}' in head:
            found.append(path)
    return found


def _models(files: list[tuple[str | None, Path]]) -> list[ReportedModel]:
    read = [(name, path, Results.load(path)) for name, path in files]
    described = [name or _describe(results.provenance) or path.stem for name, path, results in read]
    models: dict[str, ReportedModel] = {}
    label_of: dict[str, str] = {}
    for number, (name, path, results) in enumerate(read):
        identity = "" if name else _identity(results.provenance)
        label = label_of.get(identity, described[number]) if identity else described[number]
        if (
            name is None
            and label in models
            and not (identity in label_of and results.keys().isdisjoint(models[label].records))
        ):
            label = _distinct(
                described[number], path, [other for _, other, _ in read], taken=set(models)
            )
        if identity:
            label_of.setdefault(identity, label)
        model = models.setdefault(label, ReportedModel(label))
        twice = next((task for task in results if task in model.records), None)
        if twice is not None:
            raise InputError(
                f"{path}: model {label!r} already has results of {twice!r}; give one of the two another name"
            )
        model.records |= results.records
        model.sources.append((str(path), results.provenance))
    return list(models.values())


def _identity(provenance: Mapping[str, Any]) -> str:
    """Return a text that is equal for files about the same weights and settings.

    It is empty if a file does not identify its model.
    """
    model = provenance.get("model") if isinstance(provenance, Mapping) else None
    known = isinstance(model, Mapping) and model.get("fingerprint")
    return json.dumps(model, sort_keys=True, default=str) if known else ""


def _describe(provenance: Mapping[str, Any]) -> str:
    """Describe a model in a few words: last part of its name, direction, stages."""
    model = provenance.get("model") if isinstance(provenance, Mapping) else None
    if not isinstance(model, Mapping):
        return ""
    name = str(model.get("name") or model.get("class") or "").rstrip("/\\")
    stages = model.get("stages")
    trained = [str(stage) for stage in stages] if isinstance(stages, list) else []
    words = [name.replace("\\", "/").rsplit("/", 1)[-1], str(model.get("direction") or "")]
    return " + ".join([" ".join(word for word in words if word), *trained])


def _distinct(label: str, path: Path, others: list[Path], taken: set[str]) -> str:
    """Make a label distinct if two files describe their model alike.

    It adds the file's name or, if that is the same too, the folder's name.
    """
    alike = sum(other.stem == path.stem for other in others) > 1
    told = f"{path.parent.name}/{path.stem}" if alike and path.parent.name else path.stem
    return _free(f"{label} ({told})", taken)


def _free(label: str, taken: set[str]) -> str:
    number = 2
    chosen = label
    while chosen in taken:
        chosen = f"{label} {number}"
        number += 1
    return chosen


def _unique_runs(runs: list[TrainingRun]) -> list[TrainingRun]:
    labels: set[str] = set()
    unique = []
    for run in runs:
        label = _free(run.label, labels)
        labels.add(label)
        unique.append(TrainingRun(label, run.folder, run.lines, run.recipe, run.facts))
    return unique


def _read_run(folder: Path, name: str | None) -> TrainingRun:
    recipe_file = folder / "recipe.yaml"
    recipe = (
        recipe_file.read_text(encoding="utf-8", errors="replace") if recipe_file.is_file() else ""
    )
    try:
        plain = yaml.safe_load(recipe) if recipe else None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(
            f"{recipe_file}: not valid YAML; restore the recipe that the run wrote, or remove the file"
        ) from None
    if plain is not None and not isinstance(plain, dict):
        raise InputError(
            f"{recipe_file}: expected a mapping with the keys of a recipe, got {type(plain).__name__}"
        )
    label = name or folder.resolve().name or str(folder)
    return TrainingRun(label, str(folder), _lines(folder / _METRICS), recipe, _facts(folder / OURS))


def _facts(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    facts = read_json(path, remedy="restore the run's file, or remove it")
    return facts if isinstance(facts, dict) else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics file.

    A kill may cut off the last line. Only that one may be broken.
    """
    rows = path.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = []
    for number, text in enumerate(rows, start=1):
        try:
            line = json.loads(text)
            stage, step = str(line["stage"]), int(line["step"])
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            if number == len(rows):
                break
            raise InputError(
                f"{path}, row {number}: expected an object with stage, number and step; is the file damaged?"
            ) from None
        lines.append({**line, "stage": stage, "step": step})
    if not lines:
        raise InputError(f"{path}: holds no step yet; report the run once it has logged one")
    return lines


__getattr__ = old_names(__name__)
