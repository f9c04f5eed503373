"""LLaRA: embeddings that reproduce the text and predict its continuation.

Two tasks run in one pass over a text (LLaRA / Llama2Vec, arXiv 2312.15503). EBAE is auto-encoding:
the vector of the summarize question must predict the words of the text itself. EBAR is
auto-regression: the vector of the predict question must predict the words of the next passage. Both
questions follow the text as hidden blocks of the attention plan. They see the text but not each
other, and the positions of both begin at the end of the text.

The authors' released code (FlagEmbedding, research/LLARA) computes, for a row with n text tokens,

    ℓ = 1/n Σ_t - log softmax(head(h_{t-1}))[x_t]  +  w · mean of the two bag-of-words losses
    w = 1/10

with `losses.bag_of_words` at eight special tokens each. This is the recipe's mode "code". The
paper's own form has one end token each, w = 1 and no first term. Without the first term, all
vectors are known to become one (FlagEmbedding issue 538).

Every text has the same weight whatever its length, as in the authors' runs of one row per device. A
row with only one bag has the full loss of that bag. A row without bags has only the first term.

Bidirectional attention is our own extension. There a token sees the next one, so the text's own
loss is its masked form (MNTP, arXiv 2404.05961 §2.2) on a share of the text's tokens.

Letters: N rows, T tokens of the pass, M text labels, P states read of each question, K words of all
bags, H hidden, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bothways.attention.positions import usable_positions
from bothways.backbone.adapter.new_tokens import special_ids
from bothways.backbone.head import head_like
from bothways.config import Direction
from bothways.data.text.passages import Passage, consecutive
from bothways.encoder.batch import TokenBatch, TokenRow, pack
from bothways.encoder.questions import Questions
from bothways.encoder.texts.embedding_rows import embedding_rows
from bothways.errors import InputError
from bothways.losses.bag_of_words import bag_of_words
from bothways.losses.masked_next_token import masked_next_token
from bothways.objectives.llara_rows import LlaraRow, StopWords, counter, make_rows
from bothways.objectives.masking import Masking, MaskToken, mask_token_id, mask_tokens
from bothways.objectives.objective import Backward, Objective, ObjectiveConfig
from bothways.objectives.seeding import pass_seed, seeded
from bothways.objectives.step_output import StepOutput

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

log = logging.getLogger("bothways")

TextLoss = Literal["next_token", "masked", "none"]


class LlaraConfig(ObjectiveConfig):
    """Choices of LLaRA's adaptation. The defaults are those of the authors' released code."""

    needs_head: ClassVar[bool] = True
    wants: ClassVar[str] = "passages"
    trains_new_tokens: ClassVar[bool] = True

    kind: Literal["llara"] = "llara"
    max_length: int = Field(1024, ge=8, description="tokens of a row, with both questions")
    text_loss: TextLoss | None = Field(
        default=None,
        description="loss of the text itself: next_token (causal), masked (bidirectional), none. If null, the one that fits the direction",
    )
    bow_weight: float = Field(
        0.1, gt=0, description="weight of the bag-of-words losses. The authors' code uses 1/10"
    )
    stop_words: StopWords = Field(
        "english", description="stop words to remove from the predicted words: english, or none"
    )
    mask_probability: float = Field(
        0.2, gt=0, lt=1, description="masked: share of text tokens that become labels"
    )
    mask_token: MaskToken = Field("blank", description="masked: blank (the token '_'), eos or mask")
    head_chunk: int = Field(512, ge=1, description="text labels for which logits exist together")

    @property
    def collapse_remedy(self) -> str:
        """Advice if all vectors become one."""
        if self.text_loss == "none":
            return (
                "bag-of-words loss without a text loss is known to end here: set objective.text_loss, keep "
                "objective.stop_words english, and fine-tune contrastively afterwards"
            )
        return "lower optim.lr, or give the text more weight by lowering objective.bow_weight"

    def build(self, encoder: Encoder, head: nn.Module | None = None) -> Llara:
        """Build the objective.

        If every weight trains, the head trains too, tied to the embeddings if the family ties it.
        Otherwise it is frozen.

        Raises:
            InputError: there is no head, LLaRA cannot use the prompts or the pooling, the text loss
                does not fit the direction, or rows are longer than the model's positions.
        """
        if head is None:
            raise InputError(
                "objective llara: needs the base model's language-model head, but this model has none"
            )
        text_loss = self.text_loss or ("next_token" if encoder.direction == "causal" else "masked")
        if text_loss == "next_token" and encoder.direction != "causal":
            raise InputError(
                "objective llara: text_loss next_token asks for a token that a bidirectional encoder sees; use masked, or direction causal"
            )
        questions = Questions.of(encoder)
        positions = usable_positions(encoder.backbone)
        if positions is not None and self.max_length > positions:
            raise InputError(
                f"objective llara: rows of {self.max_length} tokens (objective.max_length), but the model has {positions} positions"
            )
        tokenizer = encoder.tokenizer
        return Llara(
            head_like(encoder.backbone, head),
            questions,
            direction=encoder.direction,
            max_length=self.max_length,
            text_loss=text_loss,
            bow_weight=self.bow_weight,
            stop_words=self.stop_words,
            masking=Masking(
                mask_token_id(tokenizer, self.mask_token, embedding_rows(encoder.backbone)),
                tokenizer.vocab_size,
                self.mask_probability,
            )
            if text_loss == "masked"
            else None,
            head_chunk=self.head_chunk,
            special_ids=tuple(special_ids(tokenizer)),
        )


@dataclass(frozen=True)
class LlaraBatch:
    """N rows packed for one pass.

    Args:
        tokens: T tokens, a segment and two blocks for each row.
        places: (M,) int64, place of the state that predicts each text label, one before the
            label's.
        targets: (M,) int64, those labels.
        weights: (M,) float32, 1 / labels of the row.
        read: (2 N, P) int64, places of the states read: all summaries, then all predictions.
        words: (K,) int64, the bags one after the other.
        sizes: number of words of each of the 2 N bags.
        shares: (2 N,) float32, weight of each bag in its row: 0.5, or 1 if the other bag is empty,
            or 0 if it is empty itself.
    """

    tokens: TokenBatch
    places: Tensor
    targets: Tensor
    weights: Tensor
    read: Tensor
    words: Tensor
    sizes: tuple[int, ...]
    shares: Tensor

    def to(self, device: torch.device | str) -> LlaraBatch:
        """Return the same batch on another device."""
        moved = {
            name: getattr(self, name).to(device)
            for name in ("places", "targets", "weights", "read", "words", "shares")
        }
        return replace(self, tokens=self.tokens.to(device), **moved)


class Llara(Objective[LlaraBatch]):
    """LLaRA's adaptation, see the module docstring.

    Args:
        head: (M, H) to (M, V) logits. Parameters that require a gradient are trained.
        questions: the encoder's two prompts.
        direction: direction of the encoder's attention.
        max_length, text_loss, bow_weight, stop_words, head_chunk: see `LlaraConfig`.
        masking: how text tokens are hidden, for text_loss "masked".
        special_ids: tokens that are not labels of the text. A text may spell a new token ("<s1>" in
            a page about tags), and the head of a frozen base has no row for it.
    """

    def __init__(
        self,
        head: nn.Module,
        questions: Questions,
        *,
        direction: Direction = "causal",
        max_length: int = 1024,
        text_loss: TextLoss = "next_token",
        bow_weight: float = 0.1,
        stop_words: StopWords = "english",
        masking: Masking | None = None,
        head_chunk: int = 512,
        special_ids: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.head, self.questions, self.direction = head, questions, direction
        self.max_length, self.text_loss, self.bow_weight = max_length, text_loss, bow_weight
        self.stop_words, self.masking, self.head_chunk = stop_words, masking, head_chunk
        self.special_ids = torch.tensor(sorted(special_ids), dtype=torch.int64)

    @property
    def likelihood(self) -> str | None:
        """See `Objective`."""
        return None if self.text_loss == "none" else "text"

    def prepare(self, texts: Sequence[str | Passage], encoder: Encoder) -> Sequence[LlaraRow]:
        """Cut documents into passages that fill a row, pair them, and tokenize.

        Raises:
            InputError: an item is neither a document nor a passage, there is no room for a text, or
                no passage has a next one.
        """
        for index, item in enumerate(texts):
            if not isinstance(item, (str, Passage)):
                raise InputError(
                    f"texts[{index}]: must be a document (a string) or a Passage (got {type(item).__name__})"
                )
        room = self.max_length - self.questions.overhead(encoder)
        if room < 1:
            raise InputError(
                f"objective llara: max_length {self.max_length} leaves no token for the text next to {self.max_length - room} of the "
                "questions; raise it"
            )
        passages, single = consecutive(texts, room, counter(encoder.tokenizer))
        if single:
            log.info(
                "llara: %d documents were left out, because they have at most %d tokens and so only one passage",
                single,
                room,
            )
        rows = make_rows(
            passages,
            encoder,
            self.questions,
            max_length=self.max_length,
            stop_words=self.stop_words,
        )
        if not rows:
            raise InputError(
                f"objective llara: {len(texts)} documents hold no two successive passages of up to {room} tokens; give longer "
                "documents, or a smaller max_length"
            )
        return rows

    def collate(self, examples: Sequence[LlaraRow], generator: torch.Generator) -> LlaraBatch:
        """Pack rows one after the other. Also mask their texts if the text loss is "masked"."""
        sizes = self.questions.sizes
        tokens = pack(
            [TokenRow(row.ids, [False] * len(row.ids), [], sizes) for row in examples],
            direction=self.direction,
        )
        starts = torch.tensor([0, *tokens.plan.lengths]).cumsum(0)[:-1]
        labels, ids = self._labels(examples, tokens, starts, generator)
        row_of = tokens.plan.segment_ids()[labels]
        counts = torch.bincount(row_of, minlength=len(examples))
        bags = [row.bags[side] for side in (0, 1) for row in examples]
        return LlaraBatch(
            replace(tokens, input_ids=ids),
            labels - 1,
            tokens.input_ids[labels],
            1.0 / counts[row_of],
            self._read(starts + torch.tensor(tokens.plan.lengths)),
            torch.tensor([word for bag in bags for word in bag], dtype=torch.int64),
            tuple(len(bag) for bag in bags),
            _shares(examples),
        )

    def count(self, batch: LlaraBatch) -> int:
        """Return N, the number of rows."""
        return batch.tokens.rows

    def step(
        self, encoder: Encoder, batch: LlaraBatch, *, scale: float, backward: Backward, seed: int
    ) -> StepOutput:
        """Run one pass.

        Metrics are means per row. "text" is the text's loss, and "accuracy" is the share of its
        labels that the head ranks first. "summarize" and "predict" are bag-of-words losses before
        their weight, over rows that have the bag.
        """
        with seeded(pass_seed(seed, 0), batch.read.device):
            states = encoder.states(batch.tokens)
            text = masked_next_token(
                states[batch.places],
                batch.targets,
                self.head,
                weights=batch.weights,
                chunk=self.head_chunk,
            )
            bags = bag_of_words(states[batch.read], batch.words, batch.sizes, self.head)
        total = text.total + self.bow_weight * (bags * batch.shares).sum()
        backward(total * scale)
        rows = self.count(batch)
        metrics: dict[str, Any] = {
            "summarize": _mean(bags[:rows], batch.sizes[:rows]),
            "predict": _mean(bags[rows:], batch.sizes[rows:]),
        }
        if self.text_loss != "none":
            metrics |= {
                "text": text.total.detach() / rows,
                "accuracy": text.correct / max(1, text.count),
            }
        return StepOutput(total.detach(), rows, metrics)

    def _labels(
        self,
        examples: Sequence[LlaraRow],
        tokens: TokenBatch,
        starts: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Find the places of the text labels, and the ids for the model to read.

        The first token of a segment is not a label, because nothing precedes it. Special tokens are
        not labels either.
        """
        allowed = torch.zeros_like(tokens.pool)
        if self.text_loss != "none":
            for row, start in zip(examples, starts.tolist()):
                end = len(row.ids) - sum(self.questions.sizes)
                allowed[start + max(1, row.begin) : start + end] = True
            allowed &= ~torch.isin(tokens.input_ids, self.special_ids)
        if self.masking is None:
            return allowed.nonzero().flatten(), tokens.input_ids
        ids, chosen = mask_tokens(tokens.input_ids, allowed, self.masking, generator)
        return chosen.nonzero().flatten(), ids

    def _read(self, ends: Tensor) -> Tensor:
        """Return the places (2 N, P) of the states at the end of each block.

        The rows end at `ends` (N,).
        """
        return torch.cat([ends - self.questions.sizes[1], ends])[:, None] + torch.arange(
            -self.questions.read, 0
        )


def _shares(examples: Sequence[LlaraRow]) -> Tensor:
    full = torch.tensor([[bool(bag) for bag in row.bags] for row in examples]).T.float()
    return (full / full.sum(0).clamp(min=1)).flatten()


def _mean(losses: Tensor, sizes: Sequence[int]) -> Tensor:
    return losses.detach().sum() / max(1, sum(size > 0 for size in sizes))
