"""Changes a recipe from the command line: `--set stages.mntp.optim.lr=1e-3`.

A stage is addressed by its name or its number, and a value is YAML. The message about a wrong
address names the nearest right one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bothways.errors import InputError
from bothways.nearest import meant
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.whole_weights import WHOLE, asks
from bothways.training.recipe.yaml_text import load_yaml


def override(recipe: Recipe, assignments: str | Iterable[str]) -> Recipe:
    """Return a recipe with some values replaced, for example `override(recipe, "seed=4")`.

    Args:
        recipe: it is not changed.
        assignments: `path=value`, one or many, applied in order. The path is dotted. A stage is
            addressed by its name or by its number from 0 (`stages.mntp.batch.size`,
            `stages.1.batch.size`). `stages.*` means each stage. The value is YAML: numbers, true,
            null, [a, b], {r: 8}.

    Raises:
        InputError: if there is no such path (the message has the nearest name), or if the value
            does not fit there.
    """
    given = [assignments] if isinstance(assignments, str) else list(assignments)
    changes: dict[str, Any] = {}
    for assignment in given:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise InputError(
                f"--set {assignment}: expected path=value, e.g. stages.{recipe.stages[0].name}.optim.lr=1e-3"
            )
        changes[path.strip()] = load_yaml(text, where=f"--set {path.strip()}")
    return override_values(recipe, changes)


def override_values(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some values replaced, by path.

    For example, `override_values(recipe, {"stages.*.batch.size": 8})`. See `override`.
    """
    if not changes:
        return recipe
    values = recipe.resolved()
    for path, value in changes.items():
        for keys in _expand(path, values):
            _assign(values, keys, value, path)
    return Recipe.from_values(values, where=f"--set {', '.join(changes)}")


def _expand(path: str, values: dict[str, Any]) -> list[list[str]]:
    keys = path.split(".")
    if keys[:2] == ["stages", "*"]:
        return [["stages", str(number), *keys[2:]] for number in range(len(values["stages"]))]
    return [keys]


def _assign(values: dict[str, Any], keys: list[str], value: object, path: str) -> None:
    place: Any = values
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            index = _stage_number(place, key, path)
            if last:
                place[index] = value
            else:
                place = place[index]
            continue
        if not isinstance(place, dict):
            if asks(key, value):
                raise InputError(f"--set {path}: {WHOLE}")
            raise InputError(
                f"--set {path}: {'.'.join(keys[:depth])} is a value and has no {key!r}"
            )
        if last:
            place[key] = value
            return
        if place.get(key) is None:
            # It was null so far (an adapter, an eval). The given keys make it. A misspelled key is
            # found when the whole recipe is validated.
            place[key] = {}
        place = place[key]


def _stage_number(stages: list[Any], key: str, path: str) -> int:
    names = [stage["name"] for stage in stages if isinstance(stage, dict)]
    if key.isdigit() and int(key) < len(stages):
        return int(key)
    if key in names:
        return names.index(key)
    hint = meant(key, names) + f"there are {', '.join(names)} (or 0 to {len(stages) - 1})"
    raise InputError(f"--set {path}: no stage {key!r}; {hint}")
