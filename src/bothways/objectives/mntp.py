"""MNTP, masked next-token prediction: teaches a decoder to use the tokens to its right.

LLM2Vec (arXiv 2404.05961, §2.2) masks a share of the tokens and predicts each from the state *one
place before it*, as a decoder was trained to do. With h the bidirectional last hidden states and M
the masked positions,

    L = - Σ_{i ∈ M} log softmax(head(h_{i-1}))[x_i]

The first token of a segment has no place before it, so it is never masked. Special tokens are never
masked either.

Letters: B rows, T tokens of the batch, M masked positions, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bothways.attention.plan import AttentionPlan
from bothways.attention.positions import table_positions
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.head import frozen_view, trainable_copy
from bothways.config import Direction
from bothways.data.text.packing import Block, joined_ids, pack_documents
from bothways.encoder.batch import TokenBatch
from bothways.encoder.texts.embedding_rows import embedding_rows
from bothways.errors import InputError
from bothways.losses.masked_next_token import masked_next_token
from bothways.objectives.document_tokens import end_of_document, tokenized_documents
from bothways.objectives.masking import Masking, MaskStyle, MaskToken, mask_token_id, mask_tokens
from bothways.objectives.objective import Backward, Objective, ObjectiveConfig
from bothways.objectives.seeding import pass_seed, seeded
from bothways.objectives.step_output import StepOutput

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder


class MntpConfig(ObjectiveConfig):
    """Choices of MNTP.

    The defaults are those that LLM2Vec published for the Llama family
    (`published.published_masking`).
    """

    needs_head: ClassVar[bool] = True

    kind: Literal["mntp"] = "mntp"
    mask_probability: float = Field(
        0.2, gt=0, le=1, description="share of tokens that become labels"
    )
    style: MaskStyle = Field(
        "bert",
        description="bert (80 % mask token, 10 % random, 10 % unchanged), or all_mask (always the mask token)",
    )
    mask_token: MaskToken = Field(
        "blank", description="blank (the token '_'), eos, or mask (the tokenizer's own)"
    )
    row_length: int = Field(512, ge=2, description="tokens of a packed row")
    isolate_documents: bool = Field(
        False,
        description="hide the documents of a row from each other. LLM2Vec lets them see each other",
    )
    shifted: ShiftedGroups | None = Field(
        None,
        description="S²-Attn in training (LongLoRA), for rows of thousands of tokens. If null, full attention, as published",
    )
    train_head: bool = Field(
        False,
        description="train a copy of the language-model head, as LLM2Vec's code does by accident",
    )
    head_chunk: int = Field(
        512, ge=1, description="masked positions for which logits exist together"
    )

    @property
    def stream_obstacle(self) -> str | None:
        """See `ObjectiveConfig`."""
        return None

    def build(self, encoder: Encoder, head: nn.Module | None = None) -> Mntp:
        """Build the objective.

        `head` is not changed. A frozen view of it is used, or with `train_head` a trainable copy.

        Raises:
            InputError: there is no head, the tokenizer lacks the requested mask token, or a row is
                longer than the model's table of positions.
        """
        if head is None:
            raise InputError(
                "objective mntp: needs the base model's language-model head, but this model has none"
            )
        positions = table_positions(encoder.backbone)
        if positions is not None and self.row_length > positions:
            raise InputError(
                f"objective mntp: rows of {self.row_length} tokens (objective.row_length), and the model has {positions} positions; set "
                f"objective.row_length to {positions} or less"
            )
        tokenizer, rows = encoder.tokenizer, embedding_rows(encoder.backbone)
        return Mntp(
            trainable_copy(head) if self.train_head else frozen_view(head),
            Masking(
                mask_token_id(tokenizer, self.mask_token, rows),
                # a random token must have an embedding
                min(len(tokenizer), rows or len(tokenizer)),
                self.mask_probability,
                self.style,
            ),
            special_ids=tuple(tokenizer.all_special_ids),
            direction=encoder.direction,
            row_length=self.row_length,
            isolate_documents=self.isolate_documents,
            shifted=self.shifted,
            head_chunk=self.head_chunk,
        )


@dataclass(frozen=True)
class MntpBatch:
    """Corrupted rows packed for one pass, and their labels.

    Args:
        tokens: T tokens. Every row is one segment, or several if documents are isolated.
        places: (M,) int64, place in the pass of the state that predicts each label, one before the
            label's.
        targets: (M,) int64, the original tokens.
    """

    tokens: TokenBatch
    places: Tensor
    targets: Tensor

    def to(self, device: torch.device | str) -> MntpBatch:
        """Return the same batch on another device."""
        return replace(
            self,
            tokens=self.tokens.to(device),
            places=self.places.to(device),
            targets=self.targets.to(device),
        )


class Mntp(Objective[MntpBatch]):
    """Masked next-token prediction, see the module docstring.

    Args:
        head: (M, H) to (M, V) logits. Parameters that require a gradient are trained.
        masking: how tokens are chosen and hidden.
        special_ids: tokens that are never masked.
        direction: direction of the encoder's attention.
        row_length, isolate_documents, shifted, head_chunk: see `MntpConfig`.
    """

    def __init__(
        self,
        head: nn.Module,
        masking: Masking,
        *,
        special_ids: Sequence[int],
        direction: Direction = "bidirectional",
        row_length: int = 512,
        isolate_documents: bool = False,
        shifted: ShiftedGroups | None = None,
        head_chunk: int = 512,
    ) -> None:
        super().__init__()
        self.head, self.masking, self.direction = head, masking, direction
        self.special_ids = torch.tensor(sorted(special_ids), dtype=torch.int64)
        self.row_length, self.isolate_documents = row_length, isolate_documents
        self.shifted, self.head_chunk = shifted, head_chunk

    @property
    def likelihood(self) -> str | None:
        """See `Objective`."""
        return "loss"

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> list[Block]:
        """Tokenize documents and pack them into full rows.

        A document's end is marked once: by the tokenizer's own special tokens, or if it adds none,
        by an EOS between documents.

        Raises:
            InputError: the texts hold fewer than two tokens, or one of them is not a string.
        """
        tokenizer = encoder.tokenizer
        rows = embedding_rows(encoder.backbone)
        closed = tokenizer("", verbose=False)["input_ids"] or len(texts) < 2
        separator = None if closed else end_of_document(tokenizer, rows)
        documents = tokenized_documents(texts, tokenizer, rows=rows)
        blocks = pack_documents(
            documents, self.row_length, separator=separator, isolate=self.isolate_documents
        )
        if not blocks or len(blocks[0].ids) < 2:
            raise InputError(
                f"objective mntp: {len(texts)} texts hold fewer than two tokens; give more text"
            )
        return blocks

    def collate(self, examples: Sequence[Block], generator: torch.Generator) -> MntpBatch:
        """Pack rows one after the other and mask them."""
        ids = joined_ids(examples)
        plan = AttentionPlan(
            tuple(length for block in examples for length in block.lengths),
            self.direction,
            self.shifted,
        )
        allowed = ~torch.isin(ids, self.special_ids) & (plan.position_ids() > 0)
        corrupted, chosen = mask_tokens(ids, allowed, self.masking, generator)
        labeled = chosen.nonzero().flatten()
        tokens = TokenBatch(corrupted, plan, torch.ones_like(chosen), len(plan.lengths))
        return MntpBatch(tokens, labeled - 1, ids[labeled])

    def count(self, batch: MntpBatch) -> int:
        """Return M, the number of masked positions (labels) in the batch."""
        return batch.targets.shape[0]

    def step(
        self, encoder: Encoder, batch: MntpBatch, *, scale: float, backward: Backward, seed: int
    ) -> StepOutput:
        """Run one pass.

        Metric "accuracy" is the share of labels that the head ranks first.
        """
        with seeded(pass_seed(seed, 0), batch.places.device):
            states = encoder.states(batch.tokens)[batch.places]
            loss = masked_next_token(states, batch.targets, self.head, chunk=self.head_chunk)
        backward(loss.total * scale)
        return StepOutput(
            loss.total.detach(), loss.count, {"accuracy": loss.correct / max(loss.count, 1)}
        )
