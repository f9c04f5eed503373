"""The common part of contrastive objectives: packed batches, gradient-cache step, dropout rates.

The two objectives differ in the origin of a row's texts (`contrastive`: two views of a text,
`supervised`: labeled rows), but not in the use of the vectors. Contrastive learning needs many
texts per step, so the step runs through the gradient cache.

Letters: N rows, M hard negatives, T tokens of a pass, D embedding.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bothways.encoder.batch import TokenBatch
from bothways.encoder.folder.head_modules import check_room, has_mlp
from bothways.losses.contrastive import ContrastiveLoss, ContrastiveOptions, Rows, contrastive_loss
from bothways.losses.directions import Further, Partition
from bothways.losses.distillation import Teacher
from bothways.losses.false_negatives import BatchTexts, false_negatives
from bothways.losses.gather import several_processes
from bothways.losses.infonce import SIMCSE_SCALE, alignment
from bothways.losses.quantization import QuantizedPrecision, straight_through
from bothways.objectives.objective import Backward
from bothways.objectives.pooled import PooledConfig, PooledObjective, PooledSettings
from bothways.objectives.step_output import StepOutput

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

AnyDirection = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]
"""Every direction in one literal, so that a message about a wrong one names all four."""

INITIAL_STD = 0.02
"""Standard deviation of the train-only layer's weights: BERT's initializer, as in SimCSE's code."""


class ContrastiveBaseConfig(PooledConfig):
    """Choices of every contrastive objective. LoRA dropout is in the adapter's config."""

    scale: float = Field(SIMCSE_SCALE, gt=0, description="factor on the cosines, 1 / temperature")
    mlp: bool = Field(
        False,
        description="a linear layer and tanh on the vector while training, discarded afterwards (SimCSE)",
    )
    keep_mlp: bool | None = Field(
        None,
        description="keep the mlp, so that the saved encoder's vectors pass through it, as in SimCSE's released supervised models "
        "(pooler cls; without it cls_before_pooler). If an earlier stage kept one, it is trained further. If null, no",
    )
    directions: tuple[AnyDirection, ...] | None = Field(
        None,
        description="columns of the softmax: query_to_doc, and query_to_query, doc_to_query or doc_to_doc (GTE uses all). "
        "If null, query_to_doc alone",
    )
    partition: Partition | None = Field(
        None,
        description="joint: one softmax over all directions; per_direction: the mean of one for each, with doc_to_query. If null, joint",
    )

    quantize: tuple[QuantizedPrecision, ...] | None = Field(
        None,
        description="also learn with rounded vectors: [int8], [binary] or both, by a straight-through gradient. If null, no",
    )

    @model_validator(mode="after")
    def _kept_layer(self) -> ContrastiveBaseConfig:
        if self.keep_mlp and not self.mlp:
            raise ValueError(
                "keep_mlp: there is no layer to keep; set mlp to true as well, or leave keep_mlp out"
            )
        return self

    @model_validator(mode="after")
    def _directions_fit(self) -> ContrastiveBaseConfig:
        if self.directions is not None and "query_to_doc" not in self.directions:
            raise ValueError(
                "directions: query_to_doc holds the positives, so it cannot be left out; add it"
            )
        if self.partition == "per_direction" and self.further != ("doc_to_query",):
            raise ValueError(
                "partition: per_direction needs the directions query_to_doc and doc_to_query, because the other two hold no positive; "
                "use joint for them"
            )
        return self

    @property
    def further(self) -> tuple[Further, ...]:
        """The directions other than query_to_doc, each once."""
        named = dict.fromkeys(self.directions or ())
        return tuple(each for each in named if each != "query_to_doc")

    def _settings(self, encoder: Encoder) -> PooledSettings:
        """Convert the choices to plain values, and set the encoder's dropout until `release`.

        Raises:
            InputError: the family does not support a dropout, a width exceeds the encoder's
                vectors, or a layer is to be kept behind vectors that are cut.
        """
        keeps = bool(self.keep_mlp)
        if keeps:
            check_room(encoder.pooling)
        layer = self.mlp and not (keeps and has_mlp(encoder.pooling))
        return replace(
            super()._settings(encoder),
            projection=mlp_layer(encoder.dimension) if layer else nn.Identity(),
            keep_projection=keeps and layer,
            quantize=tuple(dict.fromkeys(self.quantize or ())),
        )


def _rows(batch: ContrastiveBatch, ordered: Tensor) -> Rows:
    """Divide vectors (2 N + M, D) into those of queries, positives and hard negatives."""
    count = batch.rows
    negative = None if batch.owner is None else ordered[2 * count :]
    return Rows(ordered[:count], ordered[count : 2 * count], negative, batch.owner, batch.in_batch)


def mlp_layer(dimension: int) -> nn.Module:
    """Make SimCSE's MLP, Linear(D, D) and tanh, with weights from torch's global generator.

    STS-B dev in SimCSE §6.3. Without labels: 82.5 if used in training only, 81.7 if kept at test,
    80.9 without it. With labels: 85.8, 86.2, 86.2.
    """
    linear = nn.Linear(dimension, dimension)
    nn.init.normal_(linear.weight, std=INITIAL_STD)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.Tanh())


@dataclass(frozen=True)
class ContrastiveBatch:
    """The texts of N rows in passes of nearly equal length.

    Args:
        passes: every text to encode, the longest first.
        order: (2 N + M,) int64. Vector order[i] of all passes belongs to query i, order[N + i] to
            its positive, and order[2 N + m] to hard negative m. Rows may share a vector.
        owner: (M,) int64, row of each hard negative, ascending. None if the method has no hard
            negatives.
        texts: identities, for false negatives.
        teacher: scores, for distillation.
        in_batch: (N,) bool, rows that have in-batch negatives. None if all have them.
        learning: (N,) bool, rows with a column next to their positive. The others have loss 0 and
            do not count. None if all learn.
        guide: (2 N + M, G) vectors of the texts from a second encoder, in the order of `order`.
            None without a guide.
    """

    passes: tuple[TokenBatch, ...]
    order: Tensor
    owner: Tensor | None = None
    texts: BatchTexts | None = None
    teacher: Teacher | None = None
    in_batch: Tensor | None = None
    learning: Tensor | None = None
    guide: Tensor | None = None

    @property
    def rows(self) -> int:
        """N, the number of rows."""
        return (self.order.shape[0] - (0 if self.owner is None else self.owner.shape[0])) // 2

    def to(self, device: torch.device | str) -> ContrastiveBatch:
        """Return the same batch on another device."""
        return replace(
            self,
            passes=tuple(batch.to(device) for batch in self.passes),
            order=self.order.to(device),
            owner=None if self.owner is None else self.owner.to(device),
            texts=None if self.texts is None else self.texts.to(device),
            teacher=None if self.teacher is None else self.teacher.to(device),
            in_batch=None if self.in_batch is None else self.in_batch.to(device),
            guide=None if self.guide is None else self.guide.to(device),
        )


class ContrastiveObjective(PooledObjective[ContrastiveBatch]):
    """A contrastive step over the batches of `collate`.

    Args:
        settings: how texts become vectors.
        options: options of the loss.
    """

    def __init__(self, settings: PooledSettings, options: ContrastiveOptions) -> None:
        super().__init__(settings)
        self.options = options

    def count(self, batch: ContrastiveBatch) -> int:
        """Count the rows that have at least one negative."""
        return batch.rows if batch.learning is None else int(batch.learning.sum())

    def step(
        self,
        encoder: Encoder,
        batch: ContrastiveBatch,
        *,
        scale: float,
        backward: Backward,
        seed: int,
    ) -> StepOutput:
        """Run all passes, the loss and its gradients.

        Metrics: "accuracy" is the share of rows that rank their own positive first. "alignment" is
        the mean cosine of query and positive, which approaches 1 if vectors collapse. If the
        objective has them, "masked" is the number of columns per row that are left out as false
        negatives, and "divergence" is the distance from the teacher per row.
        """
        self.check(encoder)

        def loss(vectors: Tensor) -> tuple[Tensor, tuple[ContrastiveLoss, Tensor]]:
            ordered = vectors[batch.order]
            rows = _rows(batch, ordered)
            guide = None if batch.guide is None else _rows(batch, batch.guide)
            result, *rounded = (
                contrastive_loss(
                    each, self.options, texts=batch.texts, teacher=batch.teacher, guide=guide
                )
                for each in (
                    rows,
                    *(
                        _rows(batch, straight_through(ordered, precision))
                        for precision in self.settings.quantize
                    ),
                )
            )
            total = result.total + sum(each.total for each in rounded)
            result = replace(result, total=total)
            return result.total * scale, (result, alignment(rows.query, rows.positive))

        result, aligned = self.run(encoder, batch.passes, loss, backward=backward, seed=seed)
        metrics = {"accuracy": result.correct / result.count, "alignment": aligned}
        if self.options.false_negatives is not None:
            metrics["masked"] = result.masked / result.count
        if self.options.distillation is not None:
            metrics["divergence"] = result.divergence / result.count
        return StepOutput(result.total.detach(), self.count(batch), metrics)

    @abstractmethod
    def check(self, encoder: Encoder) -> None:
        """Refuse an encoder that the objective cannot learn with. Called at every step."""

    def learning(self, owner: Tensor, texts: BatchTexts | None, in_batch: Tensor) -> Tensor:
        """Find the rows that have a column next to their positive.

        The others have loss 0 and do not count. Columns of other processes are assumed to exist.

        Args:
            owner: (M,) int64, row of each hard negative.
            texts: identities, or None if none are compared.
            in_batch: (N,) bool, rows that see other rows' columns.

        Returns:
            (N,) bool.
        """
        rows = torch.arange(len(in_batch))
        own = torch.cat([rows, owner]) == rows[:, None]
        seen = own | in_batch[:, None]
        masks = self.options.false_negatives
        if masks is not None and texts is not None:
            by_name = replace(masks, margin=None, fraction=None)
            seen &= ~false_negatives(
                torch.zeros(seen.shape), rows, by_name, texts=texts, gather=False
            )
        others = several_processes() or (bool(self.options.directions) and len(in_batch) > 1)
        return (seen.sum(1) > 1) | (in_batch & others)
