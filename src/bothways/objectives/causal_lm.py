"""Causal language modeling on long rows, as in LongLoRA: extends a base to a longer context.

Documents are joined with EOS and cut into rows of exactly one context. Every token except a row's
first is predicted from all earlier tokens that its attention sees. With h the causal last hidden
states of a row,

    L = - Σ_i log softmax(head(h_i))[x_{i+1}]

In training, the row's attention is S²-Attn by default: groups of a quarter of the row, with half of
the heads shifted by half a group. In evaluation it is full. A stage trains a language model here,
so it saves decoder and head.

The head is not trained, as in LongLoRA. But if the family ties it to the input embeddings, both are
the same weights and train together. If every weight trains, the head does too.

Paper: LongLoRA, https://arxiv.org/abs/2309.12307.

Letters: T tokens of the batch, M predicted tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bothways.attention.plan import AttentionPlan
from bothways.attention.positions import usable_positions
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.head import Head
from bothways.backbone.rope import is_dynamic
from bothways.data.text.packing import Block, joined_ids, pack_documents
from bothways.encoder.batch import TokenBatch
from bothways.encoder.texts.embedding_rows import embedding_rows
from bothways.errors import InputError
from bothways.losses.masked_next_token import masked_next_token
from bothways.objectives.document_tokens import end_of_document, tokenized_documents
from bothways.objectives.objective import CAUSAL_LM, Backward, ModelKind, Objective, ObjectiveConfig
from bothways.objectives.seeding import pass_seed, seeded
from bothways.objectives.step_output import StepOutput

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder


class CausalLmConfig(ObjectiveConfig):
    """Choices of causal language modeling. The defaults are LongLoRA's at its shortest context."""

    needs_head: ClassVar[bool] = True
    wants: ClassVar[str] = "documents"
    trains: ClassVar[ModelKind] = CAUSAL_LM

    kind: Literal["causal_lm"] = "causal_lm"
    context: int = Field(default=8192, ge=2, description="tokens of a row")
    shifted: ShiftedGroups | None = Field(
        default=ShiftedGroups(),
        description="S²-Attn in training, its groups by ratio or size. If null, full attention",
    )
    isolate_documents: bool = Field(
        default=False,
        description="hide the documents of a row from each other. LongLoRA lets a token see earlier documents",
    )
    head_chunk: int = Field(
        default=512, ge=1, description="positions for which logits exist together"
    )

    @property
    def stream_obstacle(self) -> str | None:
        """See `ObjectiveConfig`."""
        return None

    def build(self, encoder: Encoder, head: nn.Module | None = None) -> CausalLm:
        """Build the objective.

        It uses `head` itself, tied to the encoder's embeddings if the family ties it.

        Raises:
            InputError: there is no head, or the encoder is not causal.
            UnsupportedFamily: the text decoder is part of a larger model, so it could not be saved
                with its head.
        """
        if not isinstance(head, Head):
            raise InputError(
                "objective causal_lm: needs the base model's language-model head, but this model has none"
            )
        if encoder.direction != "causal":
            raise InputError(
                "objective causal_lm: predicts each token from earlier ones, so the encoder must be causal; set direction to causal"
            )
        backbone: Any = encoder.backbone
        positions = usable_positions(backbone)
        if positions is not None and self.context > positions and not is_dynamic(backbone.config):
            raise InputError(
                f"objective causal_lm: rows of {self.context} tokens (objective.context), but the model has {positions} positions; set "
                f"rope.context to {self.context} too"
            )
        head.check_joins(backbone)
        head.tie(backbone)
        embeddings = backbone.get_input_embeddings().weight
        whole = all(parameter.requires_grad for parameter in backbone.parameters())
        for parameter in head.parameters():
            if parameter is not embeddings:
                parameter.requires_grad_(whole)
        return CausalLm(
            head,
            context=self.context,
            shifted=self.shifted,
            isolate_documents=self.isolate_documents,
            head_chunk=self.head_chunk,
        )


@dataclass(frozen=True)
class CausalLmBatch:
    """Rows packed for one pass.

    Args:
        tokens: T tokens. Every row is one segment, or several if documents are isolated.
        places: (M,) int64, place in the pass of the state that predicts each label, one before the
            label's.
        targets: (M,) int64, the tokens at places + 1.
    """

    tokens: TokenBatch
    places: Tensor
    targets: Tensor

    def to(self, device: torch.device | str) -> CausalLmBatch:
        """Return the same batch on another device."""
        return replace(
            self,
            tokens=self.tokens.to(device),
            places=self.places.to(device),
            targets=self.targets.to(device),
        )


class CausalLm(Objective[CausalLmBatch]):
    """Causal language modeling, see the module docstring.

    Args:
        head: (M, H) to (M, V) logits. Parameters that require a gradient are trained.
        context, shifted, isolate_documents, head_chunk: see `CausalLmConfig`.
    """

    def __init__(
        self,
        head: Head,
        *,
        context: int = 8192,
        shifted: ShiftedGroups | None = None,
        isolate_documents: bool = False,
        head_chunk: int = 512,
    ) -> None:
        super().__init__()
        self.head = head
        self.context, self.shifted = context, shifted
        self.isolate_documents, self.head_chunk = isolate_documents, head_chunk

    @property
    def likelihood(self) -> str | None:
        """See `Objective`."""
        return "loss"

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> list[Block]:
        """Tokenize documents and cut them into rows of one context.

        They get no special tokens, and are joined with EOS.

        Raises:
            InputError: the tokenizer has no EOS, the texts do not fill one row, or an item is not a
                string.
        """
        rows = embedding_rows(encoder.backbone)
        separator = end_of_document(encoder.tokenizer, rows) if len(texts) > 1 else None
        if separator is None and len(texts) > 1:
            raise InputError(
                "objective causal_lm: the tokenizer has no EOS to put between documents; join them into one"
            )
        documents = tokenized_documents(texts, encoder.tokenizer, special=False, rows=rows)
        blocks = pack_documents(
            documents, self.context, separator=separator, isolate=self.isolate_documents
        )
        found = len(blocks[0].ids) if blocks else 0
        if found < self.context:
            # A shorter row would leave later positions untrained, but the model would be saved with
            # this context.
            raise InputError(
                f"objective causal_lm: {len(texts)} documents hold {found} tokens, fewer than one row of {self.context}; add "
                "text, or lower context"
            )
        return blocks

    def collate(self, examples: Sequence[Block], generator: torch.Generator) -> CausalLmBatch:
        """Pack rows one after the other. Nothing is random."""
        ids = joined_ids(examples)
        lengths = tuple(length for block in examples for length in block.lengths)
        plan = AttentionPlan(lengths, "causal", self.shifted)
        labels = plan.position_ids().nonzero().flatten()
        tokens = TokenBatch(ids, plan, torch.ones_like(ids, dtype=torch.bool), len(lengths))
        return CausalLmBatch(tokens, labels - 1, ids[labels])

    def count(self, batch: CausalLmBatch) -> int:
        """Return M, the number of predicted tokens."""
        return batch.targets.shape[0]

    def step(
        self, encoder: Encoder, batch: CausalLmBatch, *, scale: float, backward: Backward, seed: int
    ) -> StepOutput:
        """Run one pass.

        Metric "accuracy" is the share of tokens that the head ranks first.
        """
        with seeded(pass_seed(seed, 0), batch.places.device):
            states = encoder.states(batch.tokens)[batch.places]
            loss = masked_next_token(states, batch.targets, self.head, chunk=self.head_chunk)
        backward(loss.total * scale)
        return StepOutput(
            loss.total.detach(), loss.count, {"accuracy": loss.correct / max(loss.count, 1)}
        )
