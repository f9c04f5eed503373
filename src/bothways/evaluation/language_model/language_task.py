"""Shared parts of tasks that need a language model: opening the model, and a heatmap by length.

`Task.run` gets an encoder, a base, or an object of the user's own. The tasks here first turn it
into a causal model and prove it (`as_language_model`), so they handle one case only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bothways.errors import InputError
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_model import as_language_model
from bothways.evaluation.task import RunOptions, Score, Task

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder

_SHADES = " ░▒▓█"


class LanguageModelTask(Task):
    """A task that measures a language model.

    The model is a `CausalLM`, or a causal encoder with a known base.
    """

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Open the model, prove it causal and measure it. See `Task.run`."""
        with as_language_model(encoder) as model:
            score = self.measure(model, options)
            return Score(
                score.metrics, {**score.details, "positions": model.positions, "rope": model.rope}
            )

    @abstractmethod
    def measure(self, model: CausalLM, options: RunOptions) -> Score:
        """Score one model, which is proved causal and in evaluation mode.

        Raises:
            InputError: if the model cannot do the task.
        """

    def picture(self, details: Mapping[str, Any]) -> list[str]:
        """Return lines to show on a terminal below the metrics, drawn from a score's details.

        A task with a single number has none.
        """
        return []


def text_heatmap(
    table: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], corner: str = ""
) -> list[str]:
    """Draw a table of shares in [0, 1] as lines of text.

    A cell is a shade, darker for a larger share, followed by the percentage.
    For example, `heatmap([[1.0, 0.5]], ["0%"], ["512", "1024"], "depth")` draws the cells "██ 100"
    and "▒▒  50".

    Args:
        table: one list for each row.
        rows: a label for each row.
        columns: a label for each column.
        corner: text above the row labels.
    """
    cells = [[_cell(value) for value in row] for row in table]
    left = max(map(len, [corner, *rows]))
    width = max(8, *(len(label) + 2 for label in columns))
    lines = [corner.ljust(left) + "".join(label.rjust(width) for label in columns)]
    return lines + [
        label.rjust(left) + "".join(cell.rjust(width) for cell in row)
        for label, row in zip(rows, cells)
    ]


def _cell(value: float) -> str:
    return f"{_SHADES[round(value * (len(_SHADES) - 1))] * 2}{round(100 * value):4d}"


def check_lengths(lengths: Sequence[int], kind: str) -> tuple[int, ...]:
    """Return token lengths in rising order.

    Raises:
        InputError: if there are none, or if one occurs twice or is below 1.
    """
    if not lengths or min(lengths) < 1 or len(set(lengths)) < len(lengths):
        raise InputError(
            f"task {kind!r}: lengths must be different numbers of tokens from 1 up (got {tuple(lengths)})"
        )
    return tuple(sorted(lengths))


def forbid_argument(argument: str | None, kind: str) -> None:
    """Refuse text after the colon of a task that makes its own data.

    Raises:
        InputError: if there is any.
    """
    if argument is not None:
        raise InputError(
            f"task {kind!r} does not take an argument (got {argument!r}); write options after a question mark, {kind}?OPTION=VALUE"
        )
