"""Causal language modelling on long rows: what LongLoRA trains, and how a base is brought to a longer context.

Documents are joined with EOS and cut into rows of exactly one context; every token but a row's first is predicted from all that its
attention sees before it. With h the causal last hidden states of a row,

    L = - Σ_i log softmax(head(h_i))[x_{i+1}]

In training the row's attention is S²-Attn unless switched off: groups of a quarter of the row, half of the heads shifted by half a
group. In evaluation it is full. What is trained is a language model, so that is what a stage saves: decoder and head.

The head stays as it is, like LongLoRA's; but where the family ties it to the input embeddings it *is* them, and moves with them.
Where every weight trains, the head trains too.

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
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.head import Head
from bothways.backbone.rope import is_dynamic
from bothways.data.text.packing import Block, joined_ids, pack_documents
from bothways.encoder.batch import TokenBatch
from bothways.encoder.convert import usable_positions
from bothways.errors import InputError
from bothways.losses.masked_next_token import masked_next_token
from bothways.objectives.base import Backward, Objective, ObjectiveConfig
from bothways.objectives.documents import tokenised
from bothways.objectives.seeding import pass_seed, seeded

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder


class CausalLmConfig(ObjectiveConfig):
    """Choices of causal language modelling; the defaults are LongLoRA's at its shortest context."""

    needs_head: ClassVar[bool] = True
    wants: ClassVar[str] = "documents"
    language_model: ClassVar[bool] = True

    kind: Literal["causal_lm"] = "causal_lm"
    context: int = Field(default=8192, ge=2, description="tokens of a row")
    shifted: ShiftedGroups | None = Field(
        default=ShiftedGroups(), description="S²-Attn in training, its groups by ratio or size; null: full attention"
    )
    isolate_documents: bool = Field(
        default=False, description="keep the documents of a row apart; LongLoRA lets a token see the documents before its own"
    )
    head_chunk: int = Field(default=512, ge=1, description="positions whose logits exist at the same time")

    def build(self, encoder: Encoder, head: nn.Module | None = None) -> CausalLm:
        """The objective; `head` is taken over, tied to the encoder's embeddings where the family ties it.

        Raises:
            InputError: no head, or an encoder that is not causal.
            UnsupportedFamily: a text decoder inside a larger model, which could not be saved with its head afterwards.
        """
        if not isinstance(head, Head):
            raise InputError("objective causal_lm: needs the base model's language-model head, and this model has none")
        if encoder.direction != "causal":
            raise InputError("objective causal_lm: predicts each token from those before it; the encoder must be causal")
        backbone: Any = encoder.backbone
        positions = usable_positions(backbone)
        if positions is not None and self.context > positions and not is_dynamic(backbone.config):
            raise InputError(
                f"objective causal_lm: rows of {self.context} tokens (objective.context), and the model has {positions} positions; set "
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
        tokens: T tokens; every row one segment, or more with isolated documents.
        places: (M,) int64, place in the pass of the state that predicts each label, one before the label's.
        targets: (M,) int64, the tokens at places + 1.
    """

    tokens: TokenBatch
    places: Tensor
    targets: Tensor

    def to(self, device: torch.device | str) -> CausalLmBatch:
        """The same batch on another device."""
        return replace(self, tokens=self.tokens.to(device), places=self.places.to(device), targets=self.targets.to(device))


class CausalLm(Objective):
    """See the file's head.

    Args:
        head: (M, H) to (M, V) logits; trained where its parameters require a gradient.
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
        """Tokenise documents without special tokens, join them with EOS and cut rows of one context.

        Raises:
            InputError: a tokenizer without EOS, texts that do not fill one row, or an item that is no string.
        """
        separator = encoder.tokenizer.eos_token_id
        if separator is None and len(texts) > 1:
            raise InputError("objective causal_lm: the tokenizer has no EOS to put between documents; join them into one")
        documents = tokenised(texts, encoder.tokenizer, special=False)
        blocks = pack_documents(documents, self.context, separator=separator, isolate=self.isolate_documents)
        found = len(blocks[0].ids) if blocks else 0
        if found < self.context:
            # a shorter row would leave the positions behind it untrained, and the model would be saved as one of this context
            raise InputError(
                f"objective causal_lm: {len(texts)} documents hold {found} tokens, fewer than one row of {self.context}; give it more "
                "text, or lower context"
            )
        return blocks

    def collate(self, examples: Sequence[Block], generator: torch.Generator) -> CausalLmBatch:
        """Pack rows one after the other; nothing is random."""
        ids = joined_ids(examples)
        lengths = tuple(length for block in examples for length in block.lengths)
        plan = AttentionPlan(lengths, "causal", self.shifted)
        labels = plan.position_ids().nonzero().flatten()
        tokens = TokenBatch(ids, plan, torch.ones_like(ids, dtype=torch.bool), len(lengths))
        return CausalLmBatch(tokens, labels - 1, ids[labels])

    def count(self, batch: CausalLmBatch) -> int:
        """M."""
        return batch.targets.shape[0]

    def step(self, encoder: Encoder, batch: CausalLmBatch, *, scale: float, backward: Backward, seed: int) -> dict[str, Any]:
        """One pass; metric "accuracy": share of tokens that the head ranks first."""
        with seeded(pass_seed(seed, 0), batch.places.device):
            states = encoder.states(batch.tokens)[batch.places]
            loss = masked_next_token(states, batch.targets, self.head, chunk=self.head_chunk)
        backward(loss.total * scale)
        return {"loss_sum": loss.total.detach(), "count": loss.count, "accuracy": loss.correct / max(loss.count, 1)}
