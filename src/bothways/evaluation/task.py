"""What a task is: it reads its data when it is made, then scores any number of encoders.

It stands apart so that a new kind of task is one file with one class: `registry.py` names it, `evaluate.py` runs it, and
neither knows what it measures. Data is read at construction, so a wrong path fails before the first text is encoded, and a task
that the trainer runs many times reads its files once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from bothways.errors import InputError

MOST = 10_000  # repetitions of an experiment; more would never end


def check_seed(seed: int | None) -> None:
    """Refuse a seed that numpy's generators do not take.

    Raises:
        InputError: it is negative, or has more than 32 bits.
    """
    if seed is not None and not 0 <= seed < 2**32:
        raise InputError(f"seed: {seed}; expected a whole number from 0 to {2**32 - 1}")


@dataclass(frozen=True)
class RunOptions:
    """How a task runs an encoder; none of it may change a score, but for the seed of metrics that draw samples.

    Attributes:
        batch_tokens: tokens of one encoding pass; None leaves it to the encoder. Handed on only to an encoder that takes it.
        show_progress_bar: None leaves it to the encoder.
        seed: seed of the metrics that draw at random (geometry's random pairs).
        work: folder where a task of several hours may keep what it has finished, under names that tell models and settings apart; it
            goes when the task is done. None for none.
    """

    batch_tokens: int | None = None
    show_progress_bar: bool | None = None
    seed: int = 0
    work: Path | None = None

    @property
    def encoding(self) -> dict[str, Any]:
        """The options that `bothways.search.vectors.encode_texts` takes."""
        return {"batch_tokens": self.batch_tokens, "show_progress_bar": self.show_progress_bar}

    def __post_init__(self) -> None:
        """Refuse a seed that generators do not take."""
        check_seed(self.seed)


@dataclass(frozen=True)
class Score:
    """What one run of a task measured.

    Attributes:
        metrics: finite numbers by metric name; correlations lie in [-1, 1], retrieval measures in [0, 1].
        details: anything longer that a report may draw, as JSON values (a spectrum, counts).
    """

    metrics: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)


class Task(ABC):
    """One measurement over fixed data.

    Attributes:
        kind: the word before the colon of a task's specification.
        main: the metric that stands for the task in a table.
        higher_is_better: False for a task whose main metric describes rather than ranks; such a task cannot choose checkpoints.
        name: how results call this task, e.g. `sts:stsb/dev.jsonl`.
        fingerprint: sha256 of the data's content, the same for a file and its compressed copy.
        settings: every option that can change a score, as JSON values; a finished task is only reused under the same ones.
    """

    kind: ClassVar[str]
    main: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    name: str
    fingerprint: str
    settings: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    @abstractmethod
    def from_argument(cls, argument: str | None) -> Task:
        """Make the task from what follows the colon of its specification; None where there was no colon.

        The keyword-only parameters that a kind adds are the options of its specification, see `specification.py`.

        Raises:
            InputError: the argument is missing, superfluous, or names data that cannot be read.
        """

    def check(self, encoder: Any) -> None:  # noqa: B027 - most tasks ask nothing of an encoder beforehand
        """Refuse an encoder that cannot do what the task asks, as far as can be told without work.

        Raises:
            InputError: it cannot.
        """

    @abstractmethod
    def run(self, encoder: Any, options: RunOptions) -> Score:
        """Score one encoder.

        Raises:
            InputError: the encoder cannot do what the task asks, or returns a vector that is not finite.
        """
