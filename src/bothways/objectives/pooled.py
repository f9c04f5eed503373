"""The common part of objectives over pooled vectors: packed texts, gradient-cache step, dropout.

Contrastive objectives, graded pairs and distillation differ in their rows and in their loss, but
not in how texts become vectors. Many texts take part in one loss, so the step runs through the
gradient cache.

Letters: N texts, T tokens of a pass, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bothways.backbone.dropout import DropoutReport, set_dropout
from bothways.config import Direction
from bothways.encoder.batch import TokenBatch, TokenRow, pack, passes
from bothways.encoder.folder.head_modules import with_mlp
from bothways.losses.matryoshka import Matryoshka
from bothways.losses.quantization import QuantizedPrecision
from bothways.moved import old_names
from bothways.objectives.gradcache import Returned, cached_step
from bothways.objectives.objective import Backward, Batch, Objective, ObjectiveConfig

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

FILL = 64
"""Passes are filled to a multiple of this many tokens. A CPU compiles its kernels per shape, so few
shapes are worth a few extra tokens."""
WORTH_KEEPING = 8
"""Batches with more than this many times `graph_tokens` keep no activations.

There a second pass over the kept tokens costs less than 1 / 32 of the step (a quarter of the
work, for at most an eighth of the tokens), but the activations take as much memory as in any
other batch."""


class PooledConfig(ObjectiveConfig):
    """Choices of every objective over pooled vectors. LoRA dropout is in the adapter's config."""

    pools: ClassVar[bool] = True

    max_length: int = Field(
        128,
        ge=1,
        description="tokens per text, with its instruction. LLM2Vec uses 128 and 512, SimCSE 32",
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
    def _widths(self) -> PooledConfig:
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

    def _settings(self, encoder: Encoder) -> PooledSettings:
        """Convert the choices to plain values, and set the encoder's dropout until `release`.

        Raises:
            InputError: the family does not support a dropout, or a width exceeds the encoder's
                vectors.
        """
        widths = self._matryoshka()
        if widths is not None:
            widths.pairs(encoder.dimension)
        pad = encoder.tokenizer.pad_token_id
        return PooledSettings(
            dropout=set_dropout(
                encoder.backbone, attention=self.attention_dropout, hidden=self.hidden_dropout
            ),
            max_length=self.max_length,
            direction=encoder.direction,
            pad_id=0 if pad is None else int(pad),
            batch_tokens=self.batch_tokens,
            graph_tokens=self.graph_tokens,
        )


@dataclass(frozen=True)
class PooledSettings:
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
        quantize: precisions to which contrastive objectives also round the vectors.
    """

    max_length: int = 128
    projection: nn.Module | None = None
    keep_projection: bool = False
    direction: Direction = "bidirectional"
    pad_id: int = 0
    batch_tokens: int = 1024
    graph_tokens: int = 2048
    dropout: DropoutReport | None = None
    quantize: tuple[QuantizedPrecision, ...] = ()


class PooledObjective(Objective[Batch]):
    """A loss over the vectors of many texts.

    Args:
        settings: how texts become vectors.
    """

    def __init__(self, settings: PooledSettings) -> None:
        super().__init__()
        self.settings = settings
        self.projection = settings.projection if settings.projection is not None else nn.Identity()

    def run(
        self,
        encoder: Encoder,
        batches: Sequence[TokenBatch],
        loss: Callable[[Tensor], tuple[Tensor, Returned]],
        *,
        backward: Backward,
        seed: int,
    ) -> Returned:
        """Run all passes, and backward of a loss over their vectors. See `gradcache.cached_step`.

        Args:
            encoder: in training mode.
            batches: the passes, from `packed`.
            loss: from the vectors (N, D) of all passes to (scalar, anything else).
            backward: see `Objective.step`.
            seed: of dropout.

        Returns:
            The second value of `loss`.
        """
        return cached_step(
            lambda part: self.projection(encoder(part)),
            batches,
            loss,
            graph_tokens=self._kept(batches),
            seed=seed,
            backward=backward,
        )

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

    def packed(self, rows: Sequence[TokenRow]) -> tuple[tuple[TokenBatch, ...], Tensor]:
        """Sort rows by length and cut them into passes.

        Returns the passes, and for each row the index of its vector among those of all passes.
        """
        groups = passes([len(row.ids) for row in rows], self.settings.batch_tokens)
        places = torch.empty(len(rows), dtype=torch.int64)
        places[[index for group in groups for index in group]] = torch.arange(len(rows))
        return tuple(self._pack([rows[index] for index in group]) for group in groups), places

    def _kept(self, batches: Sequence[TokenBatch]) -> int:
        """Return how many tokens of this batch keep their activations."""
        total = sum(part.plan.total for part in batches)
        return (
            self.settings.graph_tokens if total <= WORTH_KEEPING * self.settings.graph_tokens else 0
        )

    def _pack(self, rows: Sequence[TokenRow]) -> TokenBatch:
        tokens = sum(len(row.ids) for row in rows)
        fill = -(-tokens // FILL) * FILL
        return pack(
            rows, direction=self.settings.direction, fill_to=fill, pad_id=self.settings.pad_id
        )


__getattr__ = old_names(__name__)
