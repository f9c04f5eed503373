"""The words that an embedding holds: a text's vectors put through the language-model head, most probable words first.

LLaRA (arXiv 2312.15503) trains a text's two vectors to predict the words of the text and of what follows it, so the head can be asked
what they hold. A reader sees whether one summarises and the other foresees; numbers do not show it. As in `losses.bag_of_words`, of
several states that make a vector the largest logit counts.

Letters: P states of a vector, H hidden, V vocabulary, N texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bothways.attention.stock import quiet
from bothways.backbone.adapter.new_tokens import special_ids
from bothways.backbone.loading.sources import load_pretrained
from bothways.data.text.stop_words import content_words
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError

WORD_BEGINS = ("\u0120", "\u2581")
"""What byte-level tokenizers and SentencePiece write for the blank before a word."""


@dataclass(frozen=True)
class EmbeddingWords:
    """A text and its words, the most probable first: those of the vector as a document (summary) and as a query (prediction)."""

    text: str
    summary: tuple[str, ...]
    prediction: tuple[str, ...]

    def __str__(self) -> str:
        """Three lines for a reader."""
        return f"{self.text}\n  summary:    {', '.join(self.summary)}\n  prediction: {', '.join(self.prediction)}"


def embedding_words(
    encoder: Encoder, texts: Sequence[str], *, words: int = 10, head: nn.Module | None = None, content: bool = True
) -> list[EmbeddingWords]:
    """The words that both vectors of each text hold.

    Args:
        encoder: with last-token pooling ("last", "last_tokens") and the prompts that it is asked with.
        texts: what to look at.
        words: how many of each.
        head: (M, H) to (M, V) logits; None loads that of the encoder's base model.
        content: leave out punctuation, stop words, single letters, a word's other spellings (a capital) and, where the tokenizer marks
            how a word begins, tokens that only continue one.

    Raises:
        InputError: a pooling of other states, no head to ask, or `words` below 1.
    """
    mode = getattr(encoder.pooling, "mode", None)
    if mode not in ("last", "last_tokens"):
        raise InputError(
            f"embedding_words: the vectors of {mode} pooling are not states of the language model; it needs last or last_tokens"
        )
    if words < 1:
        raise InputError(f"words: {words}; expected at least 1")
    if head is None:
        base = str(encoder.provenance.get("base", ""))
        loaded: Any = load_pretrained(base, dtype=torch.float32, device=encoder.device, head=True).head if base else None
        if loaded is not None:
            # the embeddings may have been trained, and the head with them
            loaded.take(encoder.backbone)
        head = loaded
    if head is None:
        raise InputError("embedding_words: the encoder's base has no language-model head; give head=")
    special = special_ids(encoder.tokenizer)
    sides: tuple[Literal["document", "query"], ...] = ("document", "query")
    inner = _continuing(encoder) if content else set()
    found = [
        [_words(encoder, row, words, special, inner, content) for row in _logits(encoder, head, texts, side)] for side in sides
    ]
    return [EmbeddingWords(*each) for each in zip(texts, *found)]


def _logits(encoder: Encoder, head: nn.Module, texts: Sequence[str], side: Literal["document", "query"]) -> list[Tensor]:
    """(V,) of each text."""
    read = int(getattr(encoder.pooling, "tokens", 1))
    found = []
    with quiet(encoder):
        for row in encoder.tokenize(texts, prompt=encoder.role_prompt(side)):
            batch = encoder.pack([row]).to(encoder.device)
            own = encoder.states(batch)[batch.pool][-read:]
            found.append(head(own.to(next(head.parameters()).dtype)).float().amax(0))
    return found


def _continuing(encoder: Encoder) -> set[int]:
    """Tokens that do not begin a word; none where the tokenizer marks no beginnings."""
    pieces = encoder.tokenizer.get_vocab()
    found = {index for piece, index in pieces.items() if not piece.startswith(WORD_BEGINS)}
    return found if len(found) < len(pieces) else set()


def _words(encoder: Encoder, logits: Tensor, count: int, special: set[int], inner: set[int], content: bool) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for token in logits.argsort(descending=True).tolist():
        word = str(encoder.tokenizer.decode([token])).strip()
        if token in special or not word:
            continue
        if content and (content_words(word) != word or not _stands_alone(word, inner=token in inner)):
            continue
        found.setdefault(word.lower() if content else str(token), word)
        if len(found) == count:
            break
    return tuple(found.values())


def _stands_alone(word: str, *, inner: bool) -> bool:
    """Whether a token says something by itself; a character of a script without cases may, and most have no blanks between words."""
    return unicodedata.category(word[0]) == "Lo" or (len(word) > 1 and not inner)
