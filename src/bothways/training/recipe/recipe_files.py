"""Reads recipe files: YAML, JSON, or one of LLM2Vec's own JSON train configurations.

For every kind of file, the base, the data and single values can be replaced.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bothways.errors import InputError
from bothways.foreign import why
from bothways.training.recipe.llm2vec_json import recipe_of
from bothways.training.recipe.llm2vec_keys import is_llm2vec_json
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.yaml_text import load_yaml

log = logging.getLogger("bothways")

_STRING_OR_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])')
"""A comma before a closing bracket, outside strings.

train_configs/mntp/qwen2.json is published with one."""


def read_recipe(
    path: str | os.PathLike[str],
    *,
    base: str | None = None,
    data: str | Sequence[str] | None = None,
    sets: Iterable[str] = (),
) -> Recipe:
    """Read a recipe file.

    For example, `read_recipe("my.yaml", base="smollm2-135m", sets=["seed=4"])`.

    Args:
        path: .yaml or .yml with a recipe, or .json with a recipe or an LLM2Vec configuration (mntp,
            simcse or supervised).
        base: replaces the file's base model.
        data: source or sources that replace those of every stage.
        sets: single values, such as `stages.mntp.optim.lr=1e-3`; see
            `bothways.training.recipe.overrides.override`.

    Raises:
        InputError: if there is no such file, if it is not YAML or JSON (the message has the line),
            if it is not a recipe, or if a value does not fit (the message has its path).
    """
    values = read_values(path)
    where = str(path)
    sources = None if data is None else (data,) if isinstance(data, str) else tuple(data)
    if is_llm2vec_json(values):
        recipe = recipe_of(values, where=where, base=base, data=sources)
    else:
        recipe = Recipe.from_values(_replaced(values, base, sources), where=where)
    return override(recipe, sets)


def output_dir(path: str | os.PathLike[str]) -> str | None:
    """Return the output folder of an LLM2Vec configuration, or None for a recipe."""
    values = read_values(path)
    found = values.get("output_dir") if is_llm2vec_json(values) else None
    return None if found is None else str(found)


def overwrites(path: str | os.PathLike[str]) -> bool:
    """Tell if an LLM2Vec configuration sets overwrite_output_dir."""
    values = read_values(path)
    return is_llm2vec_json(values) and values.get("overwrite_output_dir") is True


def read_values(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the mapping in a YAML or JSON file.

    Raises:
        InputError: if it cannot be read, or does not hold a mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(
            f"{path}: cannot be read: {reason}; expected a recipe (.yaml) or an LLM2Vec configuration (.json)"
        ) from None
    values = (
        _json(text, path) if path.suffix.lower() == ".json" else load_yaml(text, where=str(path))
    )
    if not isinstance(values, dict):
        raise InputError(
            f"{path}: expected a mapping with the keys of a recipe, got {type(values).__name__}"
        )
    return values


def _json(text: str, path: Path) -> object:
    try:
        return _loads(text, path)
    except RecursionError:
        raise InputError(f"{path}: JSON that cannot be read (nested too deeply)") from None
    except json.JSONDecodeError as error:
        mended = _STRING_OR_COMMA.sub(lambda match: "" if match[0] == "," else match[0], text)
        try:
            values = _loads(mended, path)
        except (ValueError, RecursionError):
            raise InputError(
                f"{path}: line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}"
            ) from None
        log.warning(
            "%s: not strictly JSON (a comma before a closing bracket, line %d); read without it",
            path,
            error.lineno,
        )
        return values
    except ValueError as error:  # a whole number of thousands of digits
        raise InputError(f"{path}: JSON that cannot be read ({why(error)})") from None


def _loads(text: str, path: Path) -> object:
    """Parse JSON. Refuse an object that has a key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            lines = [
                number
                for number, line in enumerate(text.splitlines(), 1)
                if json.dumps(twice) in line
            ]
            raise InputError(
                f"{path}: the key {twice!r} is given twice (lines {', '.join(map(str, lines))}); keep one"
            )
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)


def _replaced(
    values: dict[str, Any], base: str | None, sources: tuple[str, ...] | None
) -> dict[str, Any]:
    """Replace base and sources before validation, so that a file may leave them out."""
    values = dict(values)
    if base is not None:
        values["base"] = base
        values["base_adapter"] = None
    stages = values.get("stages")
    if sources is not None and isinstance(stages, list):
        values["stages"] = [
            # A column belongs to the source that it was given for.
            {
                **stage,
                "data": {
                    **(stage.get("data") or {}),
                    "source": list(sources),
                    "column": None,
                    "tasks": [],
                },
            }
            if isinstance(stage, dict)
            else stage
            for stage in stages
        ]
    return values
