"""From rows to work: which encoders are trained, and which measurements make the table.

It stands apart because sharing is decided here and nowhere else. An encoder is its direction, its stages, its seed, and its pooling
from the first stage on that trains through one; so `bi+mntp` and `bi+mntp+simcse` share a training, and MNTP is trained once for all
poolings. A folder's name says all of it: `bidirectional-mean-mntp-simcse-seed0`.

Each stage is trained as a recipe of its own. Its random numbers are those of a first stage, so that its weights differ from those of
the same stage in the middle of a longer recipe under the same seed; both are draws from one distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bothways.ablation.plan import Plan, pooling_label, pooling_value
from bothways.ablation.rows import Row, RowStage
from bothways.errors import InputError
from bothways.pooling import PoolingConfig
from bothways.training.recipe.recipe import Recipe

MEAN = PoolingConfig(mode="mean")
"""What an encoder is saved with as long as no stage has trained through a pooling."""
STARTS = "starts"


@dataclass(frozen=True)
class Node:
    """A trained encoder: one stage on top of another node, or on the base.

    Attributes:
        name: of its folder.
        recipe: of this stage alone.
        parent: the encoder that it starts from; None for the base.
        repooled: it starts from a copy of its parent under another pooling.
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
        row: what is measured.
        pooling: under which.
        trained: pooling that it was trained through; None where no stage did.
        seed: of training; None for untrained rows, which have none.
        node: the trained encoder; None for the base.
    """

    row: Row
    pooling: PoolingConfig
    trained: PoolingConfig | None
    seed: int | None
    node: Node | None

    @property
    def stem(self) -> str:
        """Name of its results file, without precision and ending."""
        trained = pooling_label(self.trained or self.pooling)
        measured = "" if self.trained in (None, self.pooling) else f"-as-{pooling_label(self.pooling)}"
        return f"{self.row.label}-{trained}{measured}" + ("" if self.seed is None else f"-seed{self.seed}")


@dataclass(frozen=True)
class Grid:
    """All measurements, in the order in which they are made: untrained rows, then seed by seed.

    Attributes:
        cells: the measurements.
        left_out: rows and poolings that mean nothing together, for people.
    """

    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]

    @property
    def nodes(self) -> list[Node]:
        """Every encoder that some cell needs, each behind the one that it starts from."""
        found = {node.name: node for cell in self.cells if cell.node is not None for node in cell.node.chain}
        return list(found.values())


def expand(plan: Plan, rows: Sequence[Row], out: Path) -> Grid:
    """The measurements of a plan.

    Args:
        plan: poolings and seeds.
        rows: what `read_rows` made of it.
        out: folder of the ablation; a stage's recipe names the folder that it starts from.

    Raises:
        InputError: the same row and pooling twice, or a pooling that a row cannot have.
    """
    left_out: list[str] = []
    kinds = [(row, *pair) for row in rows for pair in _pairs(row, plan, left_out)]
    keys = [(row.label, pooling, trained) for row, pooling, trained in kinds]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise InputError(f"rows: {twice[0]} under {pooling_label(twice[1])} is there twice; leave one out")
    untrained = [Cell(row, pooling, None, None, None) for row, pooling, _ in kinds if not row.stages]
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


def _pairs(row: Row, plan: Plan, left_out: list[str]) -> Iterator[tuple[PoolingConfig, PoolingConfig | None]]:
    """Pooling measured under, and pooling trained through."""
    wanted = row.poolings or plan.poolings
    if any(pooling.mode == "bos" for pooling in (*wanted, *plan.eval_poolings)) and not row.recipe.pool_bos:
        raise InputError(f"row {row.label}: pool_bos: false leaves nothing for pooling 'bos'; choose another pooling")
    if row.pools:
        for through in wanted:
            yield through, through
            yield from ((pooling, through) for pooling in plan.eval_poolings if pooling != through)
        return
    for pooling in dict.fromkeys((*wanted, *plan.eval_poolings)):
        if not pooling.trained:
            yield pooling, None
            continue
        why = f"{row.label}: no stage trains {pooling_label(pooling)}, which would be random numbers"
        if row.poolings is not None:
            raise InputError(f"row {why}; name a pooling without parameters")
        left_out.append(why)


def _node(
    stages: tuple[RowStage, ...], row: Row, through: PoolingConfig | None, seed: int, plan: Plan, out: Path
) -> Node | None:
    if not stages:
        return None
    *before, last = stages
    parent = _node(tuple(before), row, through, seed, plan, out)
    pooling, earlier = (_pooling_after(some, through) for some in (stages, tuple(before)))
    name = "-".join([row.direction, pooling_label(pooling), *(each.label for each in stages), f"seed{seed}"])
    # an encoder folder keeps its own pooling, but for one with parameters, which the recipe puts in its place
    repooled = parent is not None and pooling != earlier and not pooling.trained
    base = plan.base if parent is None else str(out / STARTS / name if repooled else out / parent.name)
    values = last.recipe.resolved()
    stage = next(each for each in values["stages"] if each["name"] == last.stage.name)
    own = {"base": base, "direction": row.direction, "pooling": pooling_value(pooling), "seed": seed, "stages": [stage]}
    return Node(name, Recipe.from_values({**values, **own}, where=f"row {row.label}"), parent, repooled)


def _pooling_after(stages: tuple[RowStage, ...], through: PoolingConfig | None) -> PoolingConfig:
    trains = any(each.stage.objective.pools for each in stages)
    return through if trains and through is not None else MEAN
