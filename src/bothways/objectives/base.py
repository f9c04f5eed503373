"""What an objective is to the trainer: tokenise once, collate with a given generator, and one forward and backward.

An objective holds whatever its loss needs beyond the encoder (a language-model head, a train-only layer), so an encoder knows
nothing of losses and one trainer runs every method. Step and backward are one call because objectives differ exactly there:
MNTP runs one pass, the gradient cache of the contrastive objective runs many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from bothways.config import Strict
from bothways.losses.loss_sum import LossSum

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

__all__ = ["Backward", "LossSum", "Objective", "ObjectiveConfig"]

Backward = Callable[[Tensor], None]


class Objective(nn.Module, ABC):
    """A training loss and the batches it wants. Parameters that require a gradient are trained beside the encoder's."""

    @abstractmethod
    def prepare(self, texts: Sequence[Any], encoder: Encoder) -> Sequence[Any]:
        """Make examples of the data, tokenised once where every text of it is used.

        Args:
            texts: the training data, of the kind that the config's `wants` names.
            encoder: whose tokenizer is used.

        Returns:
            Examples, indexable; what the sampler permutes. One per row of the data and in its order, if rows have tasks or weights.

        Raises:
            InputError: no example can be made of the texts.
        """

    @abstractmethod
    def collate(self, examples: Sequence[Any], generator: torch.Generator) -> Any:
        """A batch on the CPU, with `.to(device)`. All randomness of the data comes from `generator` (a CPU generator)."""

    @abstractmethod
    def count(self, batch: Any) -> int:
        """Labels of this batch: what the summed loss is divided by, once added over the batches of an optimiser step."""

    @abstractmethod
    def step(self, encoder: Encoder, batch: Any, *, scale: float, backward: Backward, seed: int) -> dict[str, Any]:
        """Forward, and backward of scale · Σ loss, on the batch's device.

        Args:
            encoder: in training mode.
            batch: from `collate`.
            scale: factor on the summed loss, 1 / labels of the whole optimiser step. Gradients of micro-batches and processes
                are to be *summed*.
            backward: called with a scalar, once or several times, e.g. `accelerator.backward`.
            seed: of dropout. Torch's generators are left as they were found.

        Returns:
            "loss_sum": () detached, unscaled; "count": int; and metrics, means over the count, each () detached.
        """

    @property
    def likelihood(self) -> str | None:
        """The metric of `step` that is a mean negative log-likelihood of tokens, whose exponential is a perplexity; None: there is none."""
        return None

    def hand_over(self, encoder: Encoder) -> None:
        """Put into the encoder what it keeps of this objective after training; called once, before the first step."""
        return

    def release(self) -> None:
        """Undo what `build` changed in the encoder; called once when the stage ends."""
        return


class ObjectiveConfig(Strict, ABC):
    """Typed choices of an objective; subclasses carry `kind`."""

    needs_head: ClassVar[bool] = False
    """Whether `build` wants the backbone's language-model head."""
    wants: ClassVar[str] = "texts"
    """The kind of data that `prepare` takes: "texts" (strings), "documents" (strings that are whole), "examples" (`data.examples.Example`)
    or "passages" (documents, and `data.text.passages.Passage`s); `training.stage.stage_data` loads it."""
    trains_new_tokens: ClassVar[bool] = False
    """Whether the rows of the recipe's new tokens are trained beside an adapter."""
    pools: ClassVar[bool] = False
    """Whether the loss is one of pooled vectors, so that parameters of the pooling are trained too."""
    language_model: ClassVar[bool] = False
    """Whether it trains the base as a language model: opened causal, and saved as what it is, with its head."""
    measurable: ClassVar[bool] = True
    """Whether the loss has a meaning in evaluation mode, so that it can be read on held-out data."""

    @property
    def collapse_remedy(self) -> str:
        """What to do when all vectors become one."""
        return "lower optim.lr, raise the batch size, or check that the objective has negatives"

    @abstractmethod
    def build(self, encoder: Encoder, head: nn.Module | None = None) -> Objective:
        """The objective for this encoder.

        Args:
            encoder: adapters, if any, are attached already.
            head: (M, H) to (M, V) logits, for objectives with `needs_head`.
        """
