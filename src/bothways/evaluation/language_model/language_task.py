"""What tasks that need a language model share: how the model is opened, and how accuracy by length is shown on a terminal.

`Task.run` gets whatever is to be evaluated. The tasks here turn it into a proved causal model first (`as_language_model`), so that
an encoder, a base and an object of the user's own are one case to them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from bothways.errors import InputError
from bothways.evaluation.language_model.language_model import CausalLM, as_language_model
from bothways.evaluation.task import RunOptions, Score, Task

_SHADES = " ░▒▓█"


class LanguageModelTask(Task):
    """A task that measures a language model: a `CausalLM`, or a causal encoder whose base is known."""

    def run(self, encoder: Any, options: RunOptions) -> Score:
        """Open the model, prove it causal, measure. See `Task.run`."""
        with as_language_model(encoder) as model:
            score = self.measure(model, options)
            return Score(score.metrics, {**score.details, "positions": model.positions, "rope": model.rope})

    @abstractmethod
    def measure(self, model: CausalLM, options: RunOptions) -> Score:
        """Score one model, proved causal and in evaluation mode.

        Raises:
            InputError: the model cannot do what the task asks.
        """

    def picture(self, details: Mapping[str, Any]) -> list[str]:
        """Lines to show on a terminal below the metrics, from a score's details; none for a task that is one number."""
        return []


def heatmap(table: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], corner: str = "") -> list[str]:
    """A table of shares in [0, 1] as lines of text: a shade that is darker where more is right, and the percentage beside it.

    Args:
        table: one list for each row.
        rows: a label for each row.
        columns: a label for each column.
        corner: what stands above the row labels.
    """
    cells = [[_cell(value) for value in row] for row in table]
    left = max(map(len, [corner, *rows]))
    width = max(8, *(len(label) + 2 for label in columns))
    lines = [corner.ljust(left) + "".join(label.rjust(width) for label in columns)]
    return lines + [label.rjust(left) + "".join(cell.rjust(width) for cell in row) for label, row in zip(rows, cells)]


def _cell(value: float) -> str:
    return f"{_SHADES[round(value * (len(_SHADES) - 1))] * 2}{round(100 * value):4d}"


def check_lengths(lengths: Sequence[int], kind: str) -> tuple[int, ...]:
    """Token lengths in rising order.

    Raises:
        InputError: none, one given twice, or one below 1.
    """
    if not lengths or min(lengths) < 1 or len(set(lengths)) < len(lengths):
        raise InputError(f"task {kind!r}: lengths must be different numbers of tokens from 1 up (got {tuple(lengths)})")
    return tuple(sorted(lengths))


def forbid_argument(argument: str | None, kind: str) -> None:
    """Refuse what follows the colon of a task that makes its own data.

    Raises:
        InputError: there is something.
    """
    if argument is not None:
        raise InputError(f"task {kind!r} takes no argument, got {argument!r}; its options stand behind a question mark")
