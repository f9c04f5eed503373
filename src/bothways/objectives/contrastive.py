"""Unsupervised contrastive learning: a text must find its own second view among those of the other texts.

SimCSE (arXiv 2104.08821), the second stage of LLM2Vec (arXiv 2404.05961). The two views are two passes of the same text under
different dropout; the discrete views that the paper compares with (one word deleted, a crop) are options. Many texts per step
are what makes it learn, so the step runs through the gradient cache.

Letters: N texts, T tokens of a pass, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from bothways.backbone.dropout import DropoutReport, active_dropout, set_dropout
from bothways.config import Direction
from bothways.data.views import crop, delete_words
from bothways.encoder.batch import TokenBatch, TokenRow, pack, passes
from bothways.errors import InputError
from bothways.losses.gather import gather_rows
from bothways.losses.infonce import SIMCSE_SCALE, alignment, info_nce
from bothways.losses.loss_sum import LossSum
from bothways.objectives.base import Backward, Objective, ObjectiveConfig
from bothways.objectives.gradcache import cached_step

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

Views = Literal["dropout", "delete_word", "crop"]

CROPPED = 0.1
"""Share of a text that "crop" cuts away: the best crop of SimCSE's Table 1."""
FILL = 64
"""Passes are filled to a multiple of this many tokens: a CPU compiles its kernels per shape, so few shapes are worth a few
tokens."""
INITIAL_STD = 0.02
"""Of the train-only layer's weights: BERT's initialiser, which SimCSE's code applies to it."""


class ContrastiveConfig(ObjectiveConfig):
    """Choices of unsupervised contrastive learning. Dropout of a LoRA adapter belongs to the adapter's config."""

    kind: Literal["contrastive"] = "contrastive"
    views: Views = Field(
        "dropout", description="second view: the same text under other dropout, one word deleted, or 10 % cropped"
    )
    scale: float = Field(SIMCSE_SCALE, gt=0, description="factor on the cosines, 1 / temperature")
    max_length: int = Field(128, ge=1, description="tokens per text; LLM2Vec 128, SimCSE 32")
    mlp: bool = Field(False, description="a linear layer and tanh on the vector while training, discarded afterwards (SimCSE)")
    attention_dropout: float | None = Field(
        None, ge=0, lt=1, description="dropped attention weights; LLM2Vec 0.3; null: as it is"
    )
    hidden_dropout: float | None = Field(None, ge=0, lt=1, description="dropout of the sub-blocks' outputs; null: as it is")
    batch_tokens: int = Field(1024, ge=1, description="tokens of one pass of the gradient cache")
    graph_tokens: int = Field(2048, ge=0, description="tokens whose activations are kept instead of computed twice")

    def build(self, encoder: Encoder, head: nn.Module | None = None) -> Contrastive:
        """The objective; sets the encoder's dropout until `release`.

        Raises:
            InputError: a dropout that this family has no place for.
        """
        dropout = set_dropout(encoder.backbone, attention=self.attention_dropout, hidden=self.hidden_dropout)
        pad = encoder.tokenizer.pad_token_id
        return Contrastive(
            views=self.views,
            scale=self.scale,
            max_length=self.max_length,
            projection=train_only_layer(encoder.dimension) if self.mlp else nn.Identity(),
            direction=encoder.direction,
            pad_id=0 if pad is None else int(pad),
            batch_tokens=self.batch_tokens,
            graph_tokens=self.graph_tokens,
            dropout=dropout,
        )


def train_only_layer(dimension: int) -> nn.Module:
    """Linear(D, D) and tanh, on the vectors during training only ("MLP train-only", SimCSE §6.3: 82.5 against 80.9 without).

    Weights come from torch's global generator.
    """
    linear = nn.Linear(dimension, dimension)
    nn.init.normal_(linear.weight, std=INITIAL_STD)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.Tanh())


class TextExample(NamedTuple):
    """A text whose second view is made from its words: the text, and its tokens (the first view)."""

    text: str
    row: TokenRow


@dataclass(frozen=True)
class ContrastiveBatch:
    """Both views of N texts in passes of nearly one length.

    Args:
        passes: together 2 N rows, the longest first.
        order: (2 N,) int64; row order[i] of all passes is text i's first view, row order[N + i] its second.
    """

    passes: tuple[TokenBatch, ...]
    order: Tensor

    @property
    def rows(self) -> int:
        """N."""
        return self.order.shape[0] // 2

    def to(self, device: torch.device | str) -> ContrastiveBatch:
        """The same batch on another device."""
        return replace(self, passes=tuple(batch.to(device) for batch in self.passes), order=self.order.to(device))


class Contrastive(Objective):
    """See the file's head.

    Args:
        views: how the second view is made.
        scale: factor on the cosines.
        max_length: tokens per text.
        projection: (n, D) to (n, D'), trained, applied in training only.
        direction: of the encoder's attention.
        pad_id: token of fillers.
        batch_tokens: tokens of one pass; a longer text gets a pass of its own.
        graph_tokens: see `gradcache.cached_step`.
        dropout: what `release` undoes.
    """

    def __init__(
        self,
        *,
        views: Views = "dropout",
        scale: float = SIMCSE_SCALE,
        max_length: int = 128,
        projection: nn.Module | None = None,
        direction: Direction = "bidirectional",
        pad_id: int = 0,
        batch_tokens: int = 1024,
        graph_tokens: int = 2048,
        dropout: DropoutReport | None = None,
    ) -> None:
        super().__init__()
        self.projection = projection if projection is not None else nn.Identity()
        self.views, self.scale, self.max_length = views, scale, max_length
        self.direction, self.pad_id = direction, pad_id
        self.batch_tokens, self.graph_tokens = batch_tokens, graph_tokens
        self.dropout = dropout
        self._tokenize: Callable[[list[str]], list[TokenRow]] | None = None
        self._checked = False

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Sequence[TokenRow] | Sequence[TextExample]:
        """Tokenise, cut to `max_length`.

        Raises:
            InputError: fewer than two texts, since a text alone has nothing to be told apart from; an item that is no text.
        """
        if len(texts) < 2:
            raise InputError(f"objective contrastive: needs at least two texts (got {len(texts)})")
        rows = encoder.tokenize(texts, max_length=self.max_length)
        if self.views == "dropout":
            return rows
        self._tokenize = lambda some: encoder.tokenize(some, max_length=self.max_length)
        return [TextExample(text, row) for text, row in zip(texts, rows)]

    def collate(self, examples: Sequence[Any], generator: torch.Generator) -> ContrastiveBatch:
        """Both views of each text, sorted by length and cut into passes; a pass may hold both views of one text."""
        first, second = self._both_views(examples, generator)
        rows = [*first, *second]
        groups = passes([len(row.ids) for row in rows], self.batch_tokens)
        order = torch.empty(len(rows), dtype=torch.int64)
        order[[index for group in groups for index in group]] = torch.arange(len(rows))
        return ContrastiveBatch(tuple(self._pack([rows[index] for index in group]) for group in groups), order)

    def count(self, batch: ContrastiveBatch) -> int:
        """N."""
        return batch.rows

    def step(self, encoder: Encoder, batch: ContrastiveBatch, *, scale: float, backward: Backward, seed: int) -> dict[str, Any]:
        """All passes, the loss and its gradients.

        Metrics: "accuracy", share of texts that find their own second view first; "alignment", mean cosine of the two views,
            which
        nears 1 when vectors collapse or dropout does nothing.

        Raises:
            InputError: at the first step, if dropout makes the views and no dropout is in force.
        """
        self._check(encoder)
        rows = batch.rows

        def loss(vectors: Tensor) -> tuple[Tensor, tuple[LossSum, Tensor]]:
            query, positive = vectors[batch.order].split(rows)
            columns, offset = gather_rows(positive)
            labels = torch.arange(offset, offset + rows, device=vectors.device)
            result = info_nce(query, columns, labels, scale=self.scale)
            return result.total * scale, (result, alignment(query, positive))

        result, aligned = cached_step(
            lambda part: self.projection(encoder(part)),
            batch.passes,
            loss,
            graph_tokens=self.graph_tokens,
            seed=seed,
            backward=backward,
        )
        metrics = {"accuracy": result.correct / result.count, "alignment": aligned}
        return {"loss_sum": result.total.detach(), "count": result.count, **metrics}

    def release(self) -> None:
        """Give the encoder its own dropout back."""
        if self.dropout is not None:
            self.dropout.restore()

    def _both_views(self, examples: Sequence[Any], generator: torch.Generator) -> tuple[list[TokenRow], list[TokenRow]]:
        if self.views == "dropout":
            return list(examples), list(examples)
        if self._tokenize is None:
            raise RuntimeError("collate needs the tokenizer that prepare receives: call prepare first")
        if self.views == "delete_word":
            texts = [delete_words(example.text, 1, generator) for example in examples]
        else:
            texts = [crop(example.text, CROPPED, generator) for example in examples]
        return [example.row for example in examples], self._tokenize(texts)

    def _pack(self, rows: Sequence[TokenRow]) -> TokenBatch:
        tokens = sum(len(row.ids) for row in rows)
        return pack(rows, direction=self.direction, fill_to=-(-tokens // FILL) * FILL, pad_id=self.pad_id)

    def _check(self, encoder: Encoder) -> None:
        if self._checked or self.views != "dropout":
            return
        if not encoder.training:
            raise RuntimeError("dropout makes the two views, and the encoder is in evaluation mode: call encoder.train() first")
        if not active_dropout(encoder):
            raise InputError(
                "objective.views: 'dropout' needs dropout, and the model has none in force, so both views would be equal; set "
                "attention_dropout (LLM2Vec: 0.3), hidden_dropout (SimCSE: 0.1) or LoRA dropout"
            )
        self._checked = True
