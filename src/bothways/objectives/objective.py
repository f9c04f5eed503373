"""The interface of an objective: tokenize once, collate with a given generator, step.

An objective holds everything that its loss needs beyond the encoder (a language-model head, a
train-only layer). So an encoder knows nothing of losses, and one trainer runs every method. A step
is forward and backward in one call, because objectives differ in exactly that: MNTP runs one pass,
but the gradient cache of the contrastive objective runs several.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from bothways.config import Strict
from bothways.losses.loss_sum import LossSum
from bothways.objectives.step_output import StepOutput

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

__all__ = [
    "CAUSAL_LM",
    "TEXT_ENCODER",
    "Backward",
    "LossSum",
    "ModelKind",
    "Objective",
    "ObjectiveConfig",
    "PassBackward",
    "StepOutput",
]

Backward = Callable[[Tensor], None]


@dataclass(frozen=True)
class PassBackward:
    """A `Backward` that is told which pass of a micro-batch is the last one.

    Attributes:
        run: called with a scalar, and whether it is the last of the micro-batch.
        together: if True, passes exchange data between processes, so all processes must run equally
            many.
    """

    run: Callable[[Tensor, bool], None]
    together: bool = False

    def __call__(self, loss: Tensor) -> None:
        """Go backward from the only pass, or from the last one."""
        self.run(loss, True)

    def more(self, loss: Tensor) -> None:
        """Go backward from a pass that others follow."""
        self.run(loss, False)


class Movable(Protocol):
    """A batch, which moves to the device of the step as a whole."""

    def to(self, device: torch.device) -> Any:
        """Return the same batch on another device."""


Batch = TypeVar("Batch", bound=Movable)


class Objective(nn.Module, ABC, Generic[Batch]):
    """A training loss and its batches, for example `Mntp(Objective[MntpBatch])`.

    Its parameters that require a gradient are trained together with the encoder's.
    """

    @abstractmethod
    def prepare(self, texts: Sequence[Any], encoder: Encoder) -> Sequence[Any]:
        """Make examples from the data.

        Texts are tokenized once here, if the objective uses every text of the data.

        Args:
            texts: the training data, of the kind that the config's `wants` names.
            encoder: the encoder, whose tokenizer is used.

        Returns:
            An indexable sequence of examples, which the sampler shuffles. If rows carry tasks or
                weights, exactly one example per row, in the same order.

        Raises:
            InputError: no example can be made from the texts.
        """

    @abstractmethod
    def collate(self, examples: Sequence[Any], generator: torch.Generator) -> Batch:
        """Make a batch on the CPU.

        All randomness of the data comes from `generator` (a CPU generator).
        """

    @abstractmethod
    def count(self, batch: Batch) -> int:
        """Count the labels of this batch.

        The summed loss is divided by their total over the batches of an optimizer step.
        """

    @abstractmethod
    def step(
        self, encoder: Encoder, batch: Batch, *, scale: float, backward: Backward, seed: int
    ) -> StepOutput:
        """Run forward, and backward of scale · Σ loss, on the batch's device.

        Args:
            encoder: in training mode.
            batch: from `collate`.
            scale: factor on the summed loss, 1 / labels of the whole optimizer step. So gradients
                of micro-batches and processes must be *summed*.
            backward: called with a scalar, once or several times, for example
                `accelerator.backward`. An objective with several passes also follows
                `PassBackward`.
            seed: of dropout. Torch's generators are restored afterwards.

        Returns:
            The unscaled loss, the count and metrics, all detached.
        """

    @property
    def likelihood(self) -> str | None:
        """The metric of `step` whose exponential is a perplexity, or None if there is none.

        It is a mean negative log-likelihood of tokens.
        """
        return None

    def forget(self) -> None:
        """Drop the memory of earlier calls of `prepare`.

        A stream calls it before each piece of its data, so that memory does not grow, and a piece
        means the same in a run that was resumed.
        """
        return

    def hand_over(self, encoder: Encoder) -> None:
        """Move layers that the encoder keeps after training into it.

        Called once, before the first step.
        """
        return

    def release(self) -> None:
        """Undo the changes of `build` to the encoder. Called once, when the stage ends."""
        return


@dataclass(frozen=True)
class ModelKind:
    """A kind of model that a stage trains.

    The checks of a recipe ask it. `training.stage.product` has for each kind the object that opens
    and saves such models.

    Attributes:
        title: the kind in messages, for example "a language model".
        has_vectors: texts have vectors. So a dev metric can measure them while the stage trains,
            and an adapter next to its settings is a whole model.
    """

    title: str
    has_vectors: bool


TEXT_ENCODER = ModelKind("an encoder", has_vectors=True)
CAUSAL_LM = ModelKind("a language model", has_vectors=False)
"""The base itself, saved with its head. The next stage converts it as it would convert any base."""


class ObjectiveConfig(Strict, ABC):
    """Typed choices of an objective. Subclasses have a field `kind`."""

    needs_head: ClassVar[bool] = False
    """Whether `build` needs the backbone's language-model head."""
    wants: ClassVar[str] = "texts"
    """The kind of data that `prepare` takes: "texts" (strings), "documents" (whole texts),
    "examples" (`data.labeled.example.Example`), "pairs" (`data.labeled.pairs.GradedPair`) or
    "passages" (documents, and `data.text.passages.Passage`s).
    `training.stage.stage_data` loads it."""
    trains_new_tokens: ClassVar[bool] = False
    """Whether the rows of the recipe's new tokens are trained together with an adapter."""
    pools: ClassVar[bool] = False
    """Whether the loss uses pooled vectors, so that parameters of the pooling are trained too."""
    trains: ClassVar[ModelKind] = TEXT_ENCODER
    """What a stage leaves: a text encoder, or a causal language model with its head."""
    measurable: ClassVar[bool] = True
    """Whether the loss is meaningful in evaluation mode, and so on held-out data."""

    @property
    def stream_obstacle(self) -> str | None:
        """Why its data cannot stream, or None if it can.

        Data can stream if `prepare` may be called for one piece of it after the other.
        """
        kind = getattr(self, "kind", "of this stage")
        return f"the objective {kind} needs all its rows at once"

    @property
    def collapse_remedy(self) -> str:
        """Advice if all vectors become one."""
        return "lower optim.lr, raise the batch size, or check that the objective has negatives"

    @abstractmethod
    def build(self, encoder: Encoder, head: nn.Module | None = None) -> Objective[Any]:
        """Build the objective for this encoder.

        Args:
            encoder: adapters, if there are any, are attached already.
            head: (M, H) to (M, V) logits, for objectives with `needs_head`.
        """
