"""A stage needs enough rows for one step."""

from __future__ import annotations

from pathlib import Path

import pytest

from bothways.errors import InputError
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_data import read_stage_data
from bothways.training.stage.stage_order import stage_order
from unit.training.material import recipe
from unit.training.stage.test_labeled import ROWS, supervised


def test_too_few_rows_of_every_task(tmp_path: Path, caplog) -> None:
    made = recipe(tmp_path, supervised(batch={"size": 20}))
    groups = read_stage_data(made.stages[0], ROWS).groups
    with pytest.raises(InputError, match=r"stages\.supervised: the data gives 13 of one task at most, and one step takes 20"):
        stage_order(StageContext(made, 0), groups, 1)
    stage_order(StageContext(recipe(tmp_path, supervised(batch={"size": 10})), 0), groups, 1)
    assert "no batch of the tasks nli is ever full" in caplog.text
    caplog.clear()
    stage_order(StageContext(recipe(tmp_path, supervised(batch={"size": 7})), 0), groups, 1)
    assert not caplog.text  # the 7 rows of nli fill one
