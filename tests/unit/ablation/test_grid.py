"""Which encoders are trained and which measurements are made: sharing is counted here, without
training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bothways.ablation.ablation_plan import Plan
from bothways.ablation.ablation_rows import read_rows
from bothways.ablation.grid import Grid, expand
from bothways.config import parse
from bothways.errors import InputError
from unit.ablation.material import World

PAPER = ("uni", "bi", "bi+mntp", "uni+simcse", "bi+simcse", "bi+mntp+simcse")


def grid(world: World, *rows: str, **changes: Any) -> Grid:
    plan = parse(Plan, world.plan(*rows, **changes), where="plan")
    return expand(plan, read_rows(plan), Path("out"))


def test_the_papers_table_trains_what_it_must_and_no_more(world: World) -> None:
    """Six rows x three poolings x two seeds: MNTP once per seed, SimCSE per row, pooling and
    seed.
    """
    found = grid(world, *PAPER, poolings=["last", "mean", "weighted_mean"], seeds=[0, 1])
    names = [node.name for node in found.nodes]
    assert sum(name.endswith("mntp-seed0") for name in names) == 1
    assert len(names) == 2 * (1 + 3 * 3)
    # untrained rows have no seed; bi+mntp has seeds and no training pooling
    assert len(found.cells) == 3 + 3 + 2 * (3 + 3 * 3)
    assert len({cell.stem for cell in found.cells}) == len(found.cells)


def test_names_and_starts(world: World) -> None:
    found = {node.name: node for node in grid(world, "bi+mntp+simcse", poolings=["mean", "last", "latent_attention"]).nodes}
    assert list(found) == [
        "bidirectional-mean-mntp-seed0",
        "bidirectional-mean-mntp-simcse-seed0",
        "bidirectional-last-mntp-simcse-seed0",
        "bidirectional-latent_attention-mntp-simcse-seed0",
    ]
    mntp, mean, last, latent = found.values()
    assert (mntp.recipe.base, mntp.recipe.pooling, mntp.recipe.seed) == (world.base, "mean", 0)
    assert mean.recipe.base == latent.recipe.base == "out/bidirectional-mean-mntp-seed0"
    # an encoder folder keeps its pooling, so another one without parameters starts from a copy
    assert last.repooled
    assert last.recipe.base == "out/starts/bidirectional-last-mntp-simcse-seed0"
    assert [node.recipe.stages[0].name for node in last.chain] == ["mntp", "simcse"]


def test_seed_by_seed_and_untrained_rows_first(world: World) -> None:
    found = grid(world, "bi+mntp", "uni", "uni+simcse", seeds=[5, 3])
    assert [(cell.row.label, cell.seed) for cell in found.cells] == [
        *(("uni", None), ("bi+mntp", 5), ("uni+simcse", 5), ("bi+mntp", 3), ("uni+simcse", 3)),
    ]


def test_measuring_under_other_poolings_trains_nothing_more(world: World) -> None:
    plain = grid(world, "bi", "bi+mntp", "bi+simcse")
    more = grid(world, "bi", "bi+mntp", "bi+simcse", eval_poolings=["last", "mean"])
    assert [node.name for node in more.nodes] == [node.name for node in plain.nodes]
    assert [cell.stem for cell in more.cells] == [
        *("bi-mean", "bi-last", "bi+mntp-mean-seed0", "bi+mntp-last-seed0"),
        *("bi+simcse-mean-seed0", "bi+simcse-mean-as-last-seed0"),
    ]


def test_a_pooling_that_nothing_trains_is_left_out_and_said(world: World) -> None:
    found = grid(world, "uni", "bi+simcse", poolings=["mean", "latent_attention"])
    assert [cell.stem for cell in found.cells] == ["uni-mean", "bi+simcse-mean-seed0", "bi+simcse-latent_attention-seed0"]
    assert found.left_out == ("uni: no stage trains latent_attention, so its parameters would be random",)
    with pytest.raises(InputError, match="row uni: no stage trains latent_attention"):
        grid(world, "uni@latent_attention")


def test_sizes_of_a_pooling_are_in_the_name(world: World) -> None:
    found = grid(world, "bi+simcse", poolings=[{"mode": "latent_attention", "latents": 8, "heads": 2}])
    assert [node.name for node in found.nodes] == ["bidirectional-latent_attention-latents8-heads2-simcse-seed0"]


def test_a_custom_row_shares_the_stages_it_has_in_common(world: World) -> None:
    hot = world.write_recipe("hot.yaml", world.stage("mntp"), world.stage("simcse", optim={"lr": 0.5, "steps": 6}))
    names = [node.name for node in grid(world, "bi+mntp+simcse", f"hot={hot}").nodes]
    assert names == [f"bidirectional-mean-{each}-seed0" for each in ("mntp", "mntp-simcse", "mntp-hot.simcse")]


def test_the_same_twice_is_refused(world: World) -> None:
    with pytest.raises(InputError, match="rows: bi under mean appears twice"):
        grid(world, "bi", "bidirectional@mean")


def test_bos_pooling_needs_a_bos(world: World) -> None:
    with pytest.raises(InputError, match=r"row bi: pool_bos: false leaves nothing for pooling 'bos'"):
        grid(world, "bi@cls", overrides={"pool_bos": False})
