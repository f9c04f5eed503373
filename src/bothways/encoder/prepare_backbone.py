"""Prepares a bare backbone: switches its direction, and measures how it can run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bothways.attention.direction import set_direction
from bothways.attention.probe import measure_execution
from bothways.attention.run import Execution
from bothways.backbone.family.families import check_supported
from bothways.config import Direction
from bothways.foreign import foreign

if TYPE_CHECKING:
    from torch import nn


def prepare(
    model: nn.Module, direction: Direction, windows: str = "lift"
) -> tuple[Execution, dict[str, Any]]:
    """Switch a bare backbone to `direction`, and choose how it runs.

    Returns that choice and a report for provenance.

    Raises:
        UnsupportedFamily: a bidirectional encoder is asked for, and the family has layers that no
            mask can turn.
    """
    config: Any = model.config
    check_supported(config, direction)
    name = getattr(model, "name_or_path", "") or type(model).__name__
    with foreign(name, "cannot be run", "its config.json holds values that do not go together"):
        report = set_direction(model, direction, windows=windows)
        return measure_execution(model.eval()), report.as_dict()
