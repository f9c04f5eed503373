"""The common part of contrastive objectives: packed batches, gradient-cache step, dropout rates.

The two objectives differ in the origin of a row's texts (`contrastive`: two views of a text,
`supervised`: labeled rows), but not in the use of the vectors. Contrastive learning needs many
texts per step, so the step runs through the gradient cache.

Letters: N rows, M hard negatives, T tokens of a pass, D embedding.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bothways.backbone.dropout import DropoutReport, set_dropout
from bothways.config import Direction
from bothways.encoder.batch import TokenBatch, TokenRow, pack, passes
from bothways.encoder.folder.head_modules import check_room, has_mlp, with_mlp
from bothways.losses.contrastive import ContrastiveLoss, ContrastiveOptions, Rows, contrastive_loss
from bothways.losses.distillation import Teacher
from bothways.losses.false_negatives import Texts, false_negatives
from bothways.losses.gather import several_processes
from bothways.losses.infonce import SIMCSE_SCALE, alignment
from bothways.losses.matryoshka import Matryoshka
from bothways.objectives.base import Backward, Objective, ObjectiveConfig
from bothways.objectives.gradcache import cached_step
from bothways.objectives.step_output import StepOutput

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

FILL = 64
"""Passes are filled to a multiple of this many tokens. A CPU compiles its kernels per shape, so few
shapes are worth a few extra tokens."""
INITIAL_STD = 0.02
"""Standard deviation of the train-only layer's weights: BERT's initializer, as in SimCSE's code."""


WORTH_KEEPING = 8
"""Batches with more than this many times `graph_tokens` keep no activations.

There a second pass over the kept tokens costs less than 1 / 32 of the step (a quarter of the
work, for at most an eighth of the tokens), but the activations take as much memory as in any
other batch."""


class ContrastiveBaseConfig(ObjectiveConfig):
    """Choices of every contrastive objective. LoRA dropout is in the adapter's config."""

    pools: ClassVar[bool] = True

    scale: float = Field(SIMCSE_SCALE, gt=0, description="factor on the cosines, 1 / temperature")
    max_length: int = Field(
        128,
        ge=1,
        description="tokens per text, with its instruction. LLM2Vec uses 128 and 512, SimCSE 32",
    )
    mlp: bool = Field(
        False,
        description="a linear layer and tanh on the vector while training, discarded afterwards (SimCSE)",
    )
    keep_mlp: bool | None = Field(
        None,
        description="keep the mlp, so that the saved encoder's vectors pass through it, as in SimCSE's released supervised models "
        "(pooler cls; without it cls_before_pooler). If an earlier stage kept one, it is trained further. If null, no",
    )
    attention_dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of dropped attention weights. LLM2Vec uses 0.3. If null, it is not changed",
    )
    hidden_dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="dropout of the sub-blocks' outputs. If null, it is not changed",
    )
    matryoshka: tuple[int, ...] | None = Field(
        None,
        description="widths trained together, e.g. [576, 256, 64]. If null, only the whole vector",
    )
    matryoshka_weights: tuple[float, ...] | None = Field(
        None, description="weight of each width. If null, 1 each"
    )
    batch_tokens: int = Field(1024, ge=1, description="tokens of one pass of the gradient cache")
    graph_tokens: int = Field(
        2048,
        ge=0,
        description="tokens whose activations are kept instead of computed twice. Much larger batches keep none",
    )

    @model_validator(mode="after")
    def _kept_layer(self) -> ContrastiveBaseConfig:
        if self.keep_mlp and not self.mlp:
            raise ValueError(
                "keep_mlp: there is no layer to keep; set mlp to true as well, or leave keep_mlp out"
            )
        return self

    @model_validator(mode="after")
    def _widths(self) -> ContrastiveBaseConfig:
        if self.matryoshka is None and self.matryoshka_weights is not None:
            raise ValueError(
                "matryoshka_weights: there are no widths for these weights; give matryoshka, e.g. [576, 256, 64]"
            )
        self._matryoshka()
        return self

    def _matryoshka(self) -> Matryoshka | None:
        return (
            None
            if self.matryoshka is None
            else Matryoshka(self.matryoshka, self.matryoshka_weights)
        )

    def _settings(self, encoder: Encoder) -> Settings:
        """Convert the choices to plain values, and set the encoder's dropout until `release`.

        Raises:
            InputError: the family does not support a dropout, a width exceeds the encoder's
                vectors, or a layer is to be kept behind vectors that are cut.
        """
        widths = self._matryoshka()
        if widths is not None:
            widths.pairs(encoder.dimension)
        pad = encoder.tokenizer.pad_token_id
        keeps = bool(self.keep_mlp)
        if keeps:
            check_room(encoder.pooling)
        layer = self.mlp and not (keeps and has_mlp(encoder.pooling))
        return Settings(
            dropout=set_dropout(
                encoder.backbone, attention=self.attention_dropout, hidden=self.hidden_dropout
            ),
            max_length=self.max_length,
            projection=mlp_layer(encoder.dimension) if layer else nn.Identity(),
            keep_projection=keeps and layer,
            direction=encoder.direction,
            pad_id=0 if pad is None else int(pad),
            batch_tokens=self.batch_tokens,
            graph_tokens=self.graph_tokens,
        )


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
class Settings:
    """How texts become vectors.

    Args:
        max_length: tokens per text.
        projection: (n, D) to (n, D'), trained, applied in training.
        keep_projection: the projection is a `mlp_layer` that becomes part of the encoder, see
            `ContrastiveObjective.hand_over`.
        direction: direction of the encoder's attention.
        pad_id: token of fillers.
        batch_tokens: tokens of one pass. A longer text gets a pass of its own.
        graph_tokens: see `gradcache.cached_step`.
        dropout: the changes that `release` undoes.
    """

    max_length: int = 128
    projection: nn.Module | None = None
    keep_projection: bool = False
    direction: Direction = "bidirectional"
    pad_id: int = 0
    batch_tokens: int = 1024
    graph_tokens: int = 2048
    dropout: DropoutReport | None = None


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
    """

    passes: tuple[TokenBatch, ...]
    order: Tensor
    owner: Tensor | None = None
    texts: Texts | None = None
    teacher: Teacher | None = None
    in_batch: Tensor | None = None
    learning: Tensor | None = None

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
        )


class ContrastiveObjective(Objective[ContrastiveBatch]):
    """A contrastive step over the batches of `collate`.

    Args:
        settings: how texts become vectors.
        options: options of the loss.
    """

    def __init__(self, settings: Settings, options: ContrastiveOptions) -> None:
        super().__init__()
        self.settings, self.options = settings, options
        self.projection = settings.projection if settings.projection is not None else nn.Identity()

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
        rows = batch.rows

        def loss(vectors: Tensor) -> tuple[Tensor, tuple[ContrastiveLoss, Tensor]]:
            ordered = vectors[batch.order]
            query, positive = ordered[:rows], ordered[rows : 2 * rows]
            negative = None if batch.owner is None else ordered[2 * rows :]
            result = contrastive_loss(
                Rows(query, positive, negative, batch.owner, batch.in_batch),
                self.options,
                texts=batch.texts,
                teacher=batch.teacher,
            )
            return result.total * scale, (result, alignment(query, positive))

        result, aligned = cached_step(
            lambda part: self.projection(encoder(part)),
            batch.passes,
            loss,
            graph_tokens=self._kept(batch),
            seed=seed,
            backward=backward,
        )
        metrics = {"accuracy": result.correct / result.count, "alignment": aligned}
        if self.options.false_negatives is not None:
            metrics["masked"] = result.masked / result.count
        if self.options.distillation is not None:
            metrics["divergence"] = result.divergence / result.count
        return StepOutput(result.total.detach(), self.count(batch), metrics)

    def hand_over(self, encoder: Encoder) -> None:
        """Move a layer that is kept behind the encoder's pooling.

        From then on it is trained, measured and saved as part of the encoder.
        """
        if self.settings.keep_projection:
            encoder.pooling = with_mlp(encoder.pooling, self.projection, width=encoder.dimension)
            self.projection = nn.Identity()

    def release(self) -> None:
        """Restore the encoder's own dropout."""
        if self.settings.dropout is not None:
            self.settings.dropout.restore()

    @abstractmethod
    def check(self, encoder: Encoder) -> None:
        """Refuse an encoder that the objective cannot learn with. Called at every step."""

    def learning(self, owner: Tensor, texts: Texts | None, in_batch: Tensor) -> Tensor:
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
        return (seen.sum(1) > 1) | (in_batch & several_processes())

    def packed(self, rows: Sequence[TokenRow]) -> tuple[tuple[TokenBatch, ...], Tensor]:
        """Sort rows by length and cut them into passes.

        Returns the passes, and for each row the index of its vector among those of all passes.
        """
        groups = passes([len(row.ids) for row in rows], self.settings.batch_tokens)
        places = torch.empty(len(rows), dtype=torch.int64)
        places[[index for group in groups for index in group]] = torch.arange(len(rows))
        return tuple(self._pack([rows[index] for index in group]) for group in groups), places

    def _kept(self, batch: ContrastiveBatch) -> int:
        """Return how many tokens of this batch keep their activations."""
        total = sum(part.plan.total for part in batch.passes)
        return (
            self.settings.graph_tokens if total <= WORTH_KEEPING * self.settings.graph_tokens else 0
        )

    def _pack(self, rows: Sequence[TokenRow]) -> TokenBatch:
        tokens = sum(len(row.ids) for row in rows)
        fill = -(-tokens // FILL) * FILL
        return pack(
            rows, direction=self.settings.direction, fill_to=fill, pad_id=self.settings.pad_id
        )
