"""The parts that recipes share: presets, texts per stage, and changes by keyword.

A recipe holds only choices. The trainer does the work.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from bothways.errors import InputError
from bothways.moved import old_names
from bothways.nearest import meant
from bothways.training.recipe.overrides import override_values
from bothways.training.recipe.recipe import Recipe

Preset = Literal["published", "laptop"]
#: One source, several, or sources by stage name.
TextSources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, Any]

#: Objectives of stages that end in sentence vectors. For the others, a lower loss does not say
#: anything about an encoder.
SENTENCE_KINDS = ("contrastive", "supervised", "graded", "distillation")
#: The embedded default, the only model and text that a recipe may assume (README).
EMBEDDED_BASE = "smollm2-135m"
EMBEDDED_TEXTS = "python-stdlib"


def data(texts: TextSources, stage: str, *, short: bool) -> dict[str, Any]:
    """Build the `data` of a stage.

    For example data({"mntp": "book.txt", "simcse": "lines.txt"}, "mntp", short=False) gives
    {"source": ["book.txt"], "column": None}.

    Args:
        texts: texts of all stages, or by stage name. A value may be a whole `data` mapping with
            column and limit.
        stage: name of the stage.
        short: True if the stage learns from sentences rather than documents. The embedded text has
            both.

    Raises:
        InputError: if there are no texts for this stage.
    """
    if isinstance(texts, Mapping):
        if stage not in texts:
            raise InputError(
                f"texts: none for stage {stage!r} (there are {', '.join(map(repr, texts)) or 'none'})"
            )
        texts = texts[stage]
    if isinstance(texts, Mapping):
        return dict(texts)
    sources = (
        [os.fspath(texts)]
        if isinstance(texts, (str, os.PathLike))
        else [os.fspath(source) for source in texts]
    )
    column = ("sentence" if short else "text") if sources == [EMBEDDED_TEXTS] else None
    return {"source": sources, "column": column}


def check_preset(preset: str) -> None:
    """Raise InputError if a preset does not exist."""
    if preset not in get_args(Preset):
        raise InputError(
            f"preset: {preset!r} does not exist; {meant(preset, get_args(Preset))}there are {', '.join(get_args(Preset))}"
        )


def finish_recipe(
    values: dict[str, Any], overrides: Mapping[str, Any], *, dev: str | None, dev_every: int
) -> Recipe:
    """Validate a recipe, add a development metric, and apply changes.

    Args:
        values: nested plain values.
        overrides: values by path, with dots or double underscores: `seed=1`,
            `stages__mntp__optim__lr=1e-3`.
        dev: task specification, for example "sts:dev.tsv". Stages that train sentence vectors keep
            their best checkpoint by it. If None, no stage is measured.
        dev_every: optimizer steps between evaluations.

    Raises:
        InputError: if a metric is given but no stage can use it, or if the values do not form a
            recipe.
    """
    if dev is not None:
        measured = [
            stage for stage in values["stages"] if stage["objective"]["kind"] in SENTENCE_KINDS
        ]
        if not measured:
            raise InputError(
                f"dev: chooses checkpoints of contrastive stages, but recipe {values['name']} does not have such a stage; "
                "leave it out, or set stages.NAME.eval"
            )
        for stage in measured:
            stage["eval"] = {"metric": dev, "every": dev_every}
    recipe = Recipe.from_values(values, where=f"recipe {values['name']}")
    return override_values(
        recipe, {path.replace("__", "."): value for path, value in overrides.items()}
    )


__getattr__ = old_names(__name__)
