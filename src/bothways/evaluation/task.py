"""The base class of evaluation tasks.

A task reads its data when it is made, and then scores any number of encoders. So a wrong path fails
before the first text is encoded, and a task that the trainer runs many times reads its files once.
A new kind of task is one file with one class. `registry.py` gives it a name and `evaluate.py` runs
it. Neither of them depends on the quantity that it measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from bothways.errors import InputError
from bothways.similarity_names import Similarity, check_similarity

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder

MOST = 10_000  # repetitions of an experiment. More would never end


def check_seed(seed: int | None) -> None:
    """Refuse a seed that numpy's generators do not accept.

    Raises:
        InputError: if the seed is negative, or has more than 32 bits.
    """
    if seed is not None and not 0 <= seed < 2**32:
        raise InputError(f"seed: must be a whole number from 0 to {2**32 - 1} (got {seed})")


def similarity_setting(similarity: Similarity | None) -> dict[str, Any]:
    """Return the part of a task's settings that says how vectors are compared.

    If None, it is the encoder's own, and results of earlier versions can be resumed.

    Raises:
        InputError: if the similarity is unknown.
    """
    chosen = check_similarity(similarity)
    return {} if chosen is None else {"similarity": chosen}


@dataclass(frozen=True)
class RunOptions:
    """How a task runs an encoder.

    None of the options may change a score, except for the seed of metrics that draw samples.

    Attributes:
        batch_tokens: tokens of one encoding pass, passed on only to an encoder that accepts it. If
            None, the encoder decides.
        show_progress_bar: whether to show progress. If None, the encoder decides.
        seed: seed of metrics that draw at random (geometry's random pairs).
        work: folder in which a task of several hours may keep finished parts, under names that
            differ for each model and setting. The parts are removed when the task is done. If None,
            nothing is kept.
    """

    batch_tokens: int | None = None
    show_progress_bar: bool | None = None
    seed: int = 0
    work: Path | None = None

    @property
    def encoding(self) -> dict[str, Any]:
        """Return the options that `bothways.search.vectors.encode_texts` accepts."""
        return {"batch_tokens": self.batch_tokens, "show_progress_bar": self.show_progress_bar}

    def __post_init__(self) -> None:
        """Refuse a seed that numpy's generators do not accept."""
        check_seed(self.seed)


@dataclass(frozen=True)
class Score:
    """The result of one run of a task.

    Attributes:
        metrics: finite numbers by metric name. Correlations are in [-1, 1], retrieval measures in
            [0, 1].
        details: longer results that a report may draw, as JSON values (a spectrum, counts).
    """

    metrics: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)


class Task(ABC):
    """One measurement over fixed data.

    Attributes:
        kind: the word before the colon of a task's specification.
        main: the metric that represents the task in a table.
        higher_is_better: False if the main metric describes and does not rank.
            Such a task cannot choose checkpoints.
        name: name of the task in results, for example `sts:stsb/dev.jsonl`.
        fingerprint: sha256 of the content of the data, the same for a file and its compressed copy.
        settings: every option that can change a score, as JSON values. A finished task is reused
            only if they are equal.
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
        """Make the task from the text after the colon of its specification.

        Without a colon `argument` is None. For example, `sts:stsb` is `STS.from_argument("stsb")`.
        The keyword-only parameters that a kind adds are the options of its specification, see
        `specification.py`.

        Raises:
            InputError: if the argument is missing, superfluous, or names data that cannot be read.
        """

    def check(self, encoder: AnyEncoder) -> None:  # noqa: B027 - most tasks ask nothing of an encoder beforehand
        """Refuse an encoder that cannot do the task, as far as can be told without work.

        Raises:
            InputError: if the encoder cannot do the task.
        """

    @abstractmethod
    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Score one encoder.

        Raises:
            InputError: if the encoder cannot do the task, or returns a vector that is not finite.
        """
