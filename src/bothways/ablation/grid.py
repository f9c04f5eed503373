"""Plans the work for the rows: the encoders to train, and the measurements of the table.

This module alone decides which rows share a training. An encoder is identified by its direction,
its stages, its seed and, from the first stage that trains through the pooling, its pooling. So
`bi+mntp` and `bi+mntp+simcse` share a training, and MNTP is trained once for all poolings. A
folder's name states all of this: `bidirectional-mean-mntp-simcse-seed0`.

Each stage is trained as a recipe of its own. Its random numbers are those of a first stage, so its
weights differ from those of the same stage in the middle of a longer recipe with the same seed.
Both are draws from one distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bothways.ablation.ablation_plan import Plan, pooling_label, pooling_value
from bothways.ablation.ablation_rows import AblationRow, RowStage
from bothways.errors import InputError
from bothways.pooling import PoolingConfig
from bothways.training.recipe.recipe import Recipe

MEAN = PoolingConfig(mode="mean")
"""Pooling that an encoder is saved with until a stage has trained through a pooling."""
STARTS = "starts"


@dataclass(frozen=True)
class Node:
    """A trained encoder: one stage on top of another node, or on the base.

    Attributes:
        name: name of its folder.
        recipe: recipe of this stage alone.
        parent: the encoder that it starts from. None means the base.
        repooled: True if it starts from a copy of its parent with another pooling.
    """

    name: str
    recipe: Recipe
    parent: Node | None
    repooled: bool

    @property
    def chain(self) -> tuple[Node, ...]:
        """The nodes from the base up to this one."""
        return (*(self.parent.chain if self.parent is not None else ()), self)


@dataclass(frozen=True)
class Cell:
    """One measurement: an encoder under a pooling, on all tasks.

    Attributes:
        row: the row to measure.
        pooling: the pooling to measure it under.
        trained: the pooling that it was trained through. None if no stage was.
        seed: seed of training. None for untrained rows, which do not have one.
        node: the trained encoder. None means the base.
    """

    row: AblationRow
    pooling: PoolingConfig
    trained: PoolingConfig | None
    seed: int | None
    node: Node | None

    @property
    def stem(self) -> str:
        """Name of its results file, without precision and extension."""
        trained = pooling_label(self.trained or self.pooling)
        measured = (
            "" if self.trained in (None, self.pooling) else f"-as-{pooling_label(self.pooling)}"
        )
        return f"{self.row.label}-{trained}{measured}" + (
            "" if self.seed is None else f"-seed{self.seed}"
        )


@dataclass(frozen=True)
class Grid:
    """All measurements, in their order: untrained rows, then seed by seed.

    Attributes:
        cells: the measurements.
        left_out: notes on combinations of row and pooling that are meaningless.
    """

    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]

    @property
    def nodes(self) -> list[Node]:
        """Every encoder that a cell needs, each after the one that it starts from."""
        found = {
            node.name: node
            for cell in self.cells
            if cell.node is not None
            for node in cell.node.chain
        }
        return list(found.values())


def expand(plan: Plan, rows: Sequence[AblationRow], out: Path) -> Grid:
    """Compute the measurements of a plan.

    Args:
        plan: poolings and seeds.
        rows: its rows, as `read_rows` returns them.
        out: folder of the ablation. A stage's recipe names the folder that it starts from.

    Raises:
        InputError: if a row and pooling appear twice, or if a row cannot have a pooling.
    """
    left_out: list[str] = []
    kinds = [(row, *pair) for row in rows for pair in _pairs(row, plan, left_out)]
    keys = [(row.label, pooling, trained) for row, pooling, trained in kinds]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise InputError(
            f"rows: {twice[0]} under {pooling_label(twice[1])} appears twice; leave one out"
        )
    untrained = [
        Cell(row, pooling, None, None, None) for row, pooling, _ in kinds if not row.stages
    ]
    trained = [
        Cell(row, pooling, through, seed, _node(row.stages, row, through, seed, plan, out))
        for seed in plan.seeds
        for row, pooling, through in kinds
        if row.stages
    ]
    cells = (*untrained, *trained)
    if not cells:
        raise InputError(f"rows: nothing to measure; {'; '.join(left_out)}")
    return Grid(cells, tuple(left_out))


def _pairs(
    row: AblationRow, plan: Plan, left_out: list[str]
) -> Iterator[tuple[PoolingConfig, PoolingConfig | None]]:
    """Yield the pooling to measure under, and the pooling to train through."""
    wanted = row.poolings or plan.poolings
    if (
        any(pooling.mode == "bos" for pooling in (*wanted, *plan.eval_poolings))
        and not row.recipe.pool_bos
    ):
        raise InputError(
            f"row {row.label}: pool_bos: false leaves nothing for pooling 'bos'; choose another pooling"
        )
    if row.pools:
        for through in wanted:
            yield through, through
            yield from ((pooling, through) for pooling in plan.eval_poolings if pooling != through)
        return
    for pooling in dict.fromkeys((*wanted, *plan.eval_poolings)):
        if not pooling.trained:
            yield pooling, None
            continue
        why = f"{row.label}: no stage trains {pooling_label(pooling)}, so its parameters would be random"
        if row.poolings is not None:
            raise InputError(f"row {why}; name a pooling without parameters")
        left_out.append(why)


def _node(
    stages: tuple[RowStage, ...],
    row: AblationRow,
    through: PoolingConfig | None,
    seed: int,
    plan: Plan,
    out: Path,
) -> Node | None:
    if not stages:
        return None
    *before, last = stages
    parent = _node(tuple(before), row, through, seed, plan, out)
    pooling, earlier = (_pooling_after(some, through) for some in (stages, tuple(before)))
    name = "-".join(
        [row.direction, pooling_label(pooling), *(each.label for each in stages), f"seed{seed}"]
    )
    # An encoder folder keeps its own pooling. A pooling with parameters replaces it through the
    # recipe.
    repooled = parent is not None and pooling != earlier and not pooling.trained
    base = (
        plan.base if parent is None else str(out / STARTS / name if repooled else out / parent.name)
    )
    values = last.recipe.resolved()
    stage = next(each for each in values["stages"] if each["name"] == last.stage.name)
    own = {
        "base": base,
        "direction": row.direction,
        "pooling": pooling_value(pooling),
        "seed": seed,
        "stages": [stage],
    }
    return Node(
        name, Recipe.from_values({**values, **own}, where=f"row {row.label}"), parent, repooled
    )


def _pooling_after(stages: tuple[RowStage, ...], through: PoolingConfig | None) -> PoolingConfig:
    trains = any(each.stage.objective.pools for each in stages)
    return through if trains and through is not None else MEAN
