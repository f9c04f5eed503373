"""Pairs with a graded similarity (STS): the cosines must have the order of the scores.

CoSENT, and AnglE's term by its weight; see `losses.graded`. Both compare every two pairs of a
micro-batch, of all processes together. So the loss is one number per micro-batch and not per row,
and accumulation takes the mean over micro-batches. Pairs of different sources are not compared,
because their scores may have different scales.

Letters: N pairs, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bothways.data.labeled.graded_pairs import GradedPair
from bothways.encoder.batch import TokenBatch, TokenRow
from bothways.encoder.texts.stored_rows import OnDemand, prompted_rows
from bothways.errors import InputError
from bothways.losses.gather import gather_rows, several_processes
from bothways.losses.graded import GRADED_SCALE, angle_similarity, cosent, pair_cosines
from bothways.losses.matryoshka import Matryoshka
from bothways.objectives.objective import Backward
from bothways.objectives.pooled import PooledConfig, PooledObjective, PooledSettings
from bothways.objectives.step_output import StepOutput

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder


class GradedConfig(PooledConfig):
    """Choices of learning from graded pairs."""

    wants: ClassVar[str] = "pairs"

    kind: Literal["graded"] = "graded"
    scale: float = Field(
        GRADED_SCALE, gt=0, description="factor on the similarities. CoSENT and AnglE use 20"
    )
    cosine_weight: float = Field(1.0, ge=0, description="weight of CoSENT, which orders cosines")
    angle_weight: float = Field(
        0.0, ge=0, description="weight of AnglE's term, which orders angles of complex vectors"
    )

    @model_validator(mode="after")
    def _something(self) -> GradedConfig:
        if self.cosine_weight == self.angle_weight == 0:
            raise ValueError(
                "cosine_weight: both weights are 0, so nothing is learned; set cosine_weight to 1 (CoSENT) or angle_weight to 1 "
                "(AnglE)"
            )
        return self

    def build(self, encoder: Encoder, head: nn.Module | None = None) -> Graded:
        """Build the objective. It sets the encoder's dropout until `release`.

        Raises:
            InputError: the family does not support a dropout, or a Matryoshka width exceeds the
                encoder's vectors.
        """
        return Graded(
            self._settings(encoder),
            scale=self.scale,
            cosine_weight=self.cosine_weight,
            angle_weight=self.angle_weight,
            matryoshka=self._matryoshka(),
        )


class TokenPair(NamedTuple):
    """The tokens of two texts, their gold score, and the number of their source."""

    first: TokenRow
    second: TokenRow
    score: float
    group: int


@dataclass(frozen=True)
class GradedBatch:
    """N pairs in passes.

    Args:
        passes: every text to encode.
        order: (2 N,) int64. Vector order[i] of all passes is pair i's first text, order[N + i] its
            second.
        labels: (N,) float64 gold scores.
        groups: (N,) int64, pairs of one number are compared.
    """

    passes: tuple[TokenBatch, ...]
    order: Tensor
    labels: Tensor
    groups: Tensor

    def to(self, device: torch.device | str) -> GradedBatch:
        """Return the same batch on another device."""
        return replace(
            self,
            passes=tuple(batch.to(device) for batch in self.passes),
            order=self.order.to(device),
            # MPS has no float64
            labels=self.labels.float().to(device),
            groups=self.groups.to(device),
        )


class Graded(PooledObjective[GradedBatch]):
    """Learning from graded pairs, see the module docstring.

    Args:
        settings: see `PooledObjective`.
        scale: factor on the similarities.
        cosine_weight: weight of CoSENT.
        angle_weight: weight of AnglE's term.
        matryoshka: widths to which vectors are cut. If None, only the whole vector counts.
    """

    def __init__(
        self,
        settings: PooledSettings,
        *,
        scale: float = GRADED_SCALE,
        cosine_weight: float = 1.0,
        angle_weight: float = 0.0,
        matryoshka: Matryoshka | None = None,
    ) -> None:
        super().__init__(settings)
        self.scale, self.matryoshka = scale, matryoshka
        self.terms: list[tuple[float, Callable[[Tensor, Tensor], Tensor]]] = [
            (weight, similarity)
            for weight, similarity in (
                (cosine_weight, pair_cosines),
                (angle_weight, angle_similarity),
            )
            if weight
        ]

    def prepare(self, texts: Sequence[GradedPair], encoder: Encoder) -> Sequence[TokenPair]:
        """Tokenize both texts of each pair, with the encoder's default prompt.

        Raises:
            InputError: there are no two pairs of one source with different scores, so nothing can
                be ordered.
        """
        sources = {name: number for number, name in enumerate({row.group: 0 for row in texts})}
        scores: dict[str, set[float]] = {}
        for row in texts:
            scores.setdefault(row.group, set()).add(row.score)
        if not any(len(found) > 1 for found in scores.values()):
            raise InputError(
                f"objective graded: all {len(texts)} pairs have one score, so nothing can be ordered; give pairs with different scores"
            )
        both = [text for row in texts for text in (row.first, row.second)]
        rows = prompted_rows(encoder, both, self.settings.max_length)

        def pair(number: int) -> TokenPair:
            row = texts[number]
            return TokenPair(rows[2 * number], rows[2 * number + 1], row.score, sources[row.group])

        return OnDemand(pair, range(len(texts)))

    def collate(self, examples: Sequence[TokenPair], generator: torch.Generator) -> GradedBatch:
        """Pack both texts of each pair. Nothing is random."""
        passes, order = self.packed(
            [*(each.first for each in examples), *(each.second for each in examples)]
        )
        return GradedBatch(
            passes,
            order,
            torch.tensor([each.score for each in examples], dtype=torch.float64),
            torch.tensor([each.group for each in examples]),
        )

    def count(self, batch: GradedBatch) -> int:
        """Return 1, or 0 if no two pairs of the batch can be ordered."""
        return int(several_processes() or bool(_higher(batch.labels, batch.groups).any()))

    def step(
        self, encoder: Encoder, batch: GradedBatch, *, scale: float, backward: Backward, seed: int
    ) -> StepOutput:
        """Run all passes, the loss and its gradients.

        Metric "ordered" is the share of comparable pairs that the cosines order as the scores do.
        """
        rows = len(batch.labels)

        def loss(vectors: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            ordered = vectors[batch.order]
            labels = gather_rows(batch.labels[:, None]).rows[:, 0]
            groups = gather_rows(batch.groups[:, None]).rows[:, 0]
            total = self._loss(ordered[:rows], ordered[rows:], labels, groups)
            with torch.no_grad():
                cosines = pair_cosines(ordered[:rows], ordered[rows:])
                share = _ordered(gather_rows(cosines[:, None]).rows[:, 0], labels, groups)
            return total * scale, (total.detach(), share)

        total, share = self.run(encoder, batch.passes, loss, backward=backward, seed=seed)
        return StepOutput(total, self.count(batch), {"ordered": share})

    def _loss(self, first: Tensor, second: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        """Compute the loss of this process's vectors and the labels and groups of all pairs."""
        width = first.shape[1]
        total = first.new_zeros((), dtype=torch.promote_types(first.dtype, torch.float32))
        for size, weight in (self.matryoshka or Matryoshka((width,))).pairs(width):
            for share, similarity in self.terms:
                own = similarity(first[:, :size], second[:, :size]) * self.scale
                every = gather_rows(own[:, None]).rows[:, 0]
                total = total + weight * share * cosent(every, labels, groups)
        return total


def _higher(labels: Tensor, groups: Tensor) -> Tensor:
    """Tell which pair (row) must be more similar than which (column), (N, N) bool."""
    return (labels[:, None] > labels[None, :]) & (groups[:, None] == groups[None, :])


def _ordered(cosines: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    higher = _higher(labels, groups)
    right = (cosines[:, None] > cosines[None, :]) & higher
    return right.sum() / higher.sum().clamp(min=1)
