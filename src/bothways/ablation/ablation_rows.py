"""Reads rows such as `uni`, `bi+mntp`, `bi+mntp+simcse@mean,last` and `mine=recipe.yaml`.

    ROW = DIRECTION[+STAGE...][@POOLING,...]  or  NAME=RECIPE[@POOLING,...]

`uni` and `bi` are LLM2Vec's words for causal and bidirectional (arXiv 2404.05961, tables 1 to 3).
If a row is a recipe file, the file determines direction, stages and lengths. The plan determines
the base (and with it an adapter of that base), poolings and seeds, as `bothways train FILE --base`
does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bothways import recipes
from bothways.ablation.ablation_plan import OWN, Plan
from bothways.ablation.stage_library import is_name, stage_library
from bothways.config import Direction
from bothways.errors import InputError
from bothways.moved import old_names
from bothways.nearest import meant
from bothways.pooling import PoolingConfig
from bothways.pooling.config import TRAINED
from bothways.pooling.pool import ALIASES, POOLINGS
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.recipe_files import read_recipe
from bothways.training.recipe.stage_config import Stage

_DIRECTIONS: dict[str, Direction] = {
    "uni": "causal",
    "causal": "causal",
    "bi": "bidirectional",
    "bidirectional": "bidirectional",
}
_SHORT: dict[Direction, str] = {"causal": "uni", "bidirectional": "bi"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
FORM = "DIRECTION[+STAGE...][@POOLING,...], e.g. bi+mntp+simcse@mean, or NAME=RECIPE.yaml"


@dataclass(frozen=True)
class RowStage:
    """A stage of a row.

    Attributes:
        label: name for folders: the stage's name, or ROW.STAGE if it differs from the plan's stage
            of that name.
        stage: its config.
        recipe: the recipe with its other values (length, precision, …).
    """

    label: str
    stage: Stage
    recipe: Recipe


@dataclass(frozen=True)
class AblationRow:
    """One method: a direction and the stages it is trained through.

    Attributes:
        label: name in the table, without poolings.
        direction: direction of its attention.
        stages: its stages in order. Empty for an untrained row.
        recipe: lengths and other values of the untrained encoder.
        poolings: its own poolings. If None, the plan's.
    """

    label: str
    direction: Direction
    stages: tuple[RowStage, ...]
    recipe: Recipe
    poolings: tuple[PoolingConfig, ...] | None

    @property
    def pools(self) -> bool:
        """True if a stage trains through the pooling, so that each pooling needs a training."""
        return any(each.stage.objective.pools for each in self.stages)


def read_rows(plan: Plan) -> list[AblationRow]:
    """Parse the rows of a plan, in its order.

    Raises:
        InputError: if a row cannot be read. The message suggests a correction.
    """
    split = [_split_poolings(text) for text in plan.rows]
    used = {name.strip() for text, _ in split if "=" not in text for name in text.split("+")[1:]}
    library = stage_library(plan, used)
    rows = [
        _custom_row(text, poolings, plan, library)
        if "=" in text
        else _plain_row(text, poolings, plan, library)
        for text, poolings in split
    ]
    for row in rows:
        for stage in (each.stage for each in row.stages):
            if not stage.objective.trains.has_vectors:
                raise InputError(
                    f"row {row.label}: stage {stage.name} trains {stage.objective.trains.title}, but rows are encoders; "
                    "train it first (bothways train) and name its folder as the base"
                )
    return rows


def _split_poolings(text: str) -> tuple[str, tuple[PoolingConfig, ...] | None]:
    head, mark, tail = text.rpartition("@")
    # The path of a recipe may contain an @.
    if not mark or ("=" in head and not all(_is_pooling(name) for name in tail.split(","))):
        return text.strip(), None
    names = [name.strip() for name in tail.split(",")]
    for name in names:
        if not _is_pooling(name):
            hint = meant(name, (*POOLINGS, *TRAINED, *ALIASES))
            hint += f"there are {', '.join((*POOLINGS, *TRAINED))}"
            raise InputError(f"row {text!r}: unknown pooling {name!r}; {hint}")
    poolings = tuple(dict.fromkeys(PoolingConfig.of(name) for name in names))
    return head.strip(), poolings


def _is_pooling(name: str) -> bool:
    return name.strip() in (*POOLINGS, *TRAINED, *ALIASES)


def _plain_row(
    text: str, poolings: tuple[PoolingConfig, ...] | None, plan: Plan, library: Recipe
) -> AblationRow:
    first, *names = (part.strip() for part in text.split("+"))
    if first not in _DIRECTIONS:
        raise InputError(
            f"row {text!r}: starts with {first!r}, not with a direction (uni or bi); write {FORM}"
        )
    direction = _DIRECTIONS[first]
    known = {stage.name: stage for stage in library.stages}
    for name in names:
        if name not in known:
            hint = meant(name, known) + f"the recipe has {', '.join(known)}"
            if any(
                is_name(recipe) and name in recipes.get(recipe).options for recipe in plan.recipe
            ):
                hint = f"give it labeled rows: data {name}=ROWS"
            raise InputError(f"row {text!r}: no stage {name!r}; {hint}")
    stages = tuple(RowStage(name, known[name], library) for name in names)
    return AblationRow("+".join([_SHORT[direction], *names]), direction, stages, library, poolings)


def _custom_row(
    text: str, poolings: tuple[PoolingConfig, ...] | None, plan: Plan, library: Recipe
) -> AblationRow:
    name, _, path = text.partition("=")
    if not _NAME.fullmatch(name) or name in _DIRECTIONS:
        raise InputError(
            f"row {text!r}: {name!r} cannot be a row's name; use letters, digits, '.', - and _, but not a direction"
        )
    recipe = read_recipe(path, base=plan.base)
    known = {stage.name: stage for stage in library.stages}
    alike = recipe_frame(recipe) == recipe_frame(library)
    stages = tuple(
        RowStage(stage.name, stage, library)
        if alike and known.get(stage.name) == stage
        else RowStage(f"{name}.{stage.name}", stage, recipe)
        for stage in recipe.stages
    )
    return AblationRow(name, recipe.direction, stages, recipe, poolings)


def recipe_frame(recipe: Recipe) -> dict[str, object]:
    """Return a recipe's values without its stages and without those that the plan decides.

    Its name, trackers and number of checkpoints do not count either.
    """
    return {
        key: value
        for key, value in recipe.resolved().items()
        if key not in (*OWN, "name", "trackers", "keep_checkpoints")
    }


__getattr__ = old_names(__name__)
