"""The words that an embedding holds: the language-model head applied to a text's vectors.

LLaRA (arXiv 2312.15503) trains the two vectors of a text to predict the words of the text and of
its continuation. So the head can tell which words they hold, most probable first. A reader sees
whether one vector summarizes and the other predicts, which numbers do not show. If a vector
consists of several states, the largest logit counts, as in `losses.bag_of_words`.

Letters: P states of a vector, H hidden, V vocabulary, N texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bothways.attention.stock import evaluation_mode
from bothways.backbone.adapter.new_tokens import special_ids
from bothways.backbone.loading.sources import load_pretrained
from bothways.data.text.stop_words import content_words
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError

WORD_BEGINS = ("\u0120", "\u2581")
"""The blank before a word, as byte-level tokenizers and SentencePiece write it."""


@dataclass(frozen=True)
class EmbeddingWords:
    """A text and the words of its two vectors, most probable first.

    Attributes:
        text: the text.
        summary: words of the vector as a document.
        prediction: words of the vector as a query.
    """

    text: str
    summary: tuple[str, ...]
    prediction: tuple[str, ...]

    def __str__(self) -> str:
        """Return three lines for a reader."""
        return f"{self.text}\n  summary:    {', '.join(self.summary)}\n  prediction: {', '.join(self.prediction)}"


def embedding_words(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    words: int = 10,
    head: nn.Module | None = None,
    content: bool = True,
) -> list[EmbeddingWords]:
    """Find the words that both vectors of each text hold.

    For example, `print(embedding_words(encoder, ["Bees make honey."], words=5)[0])`.

    Args:
        encoder: an encoder with last-token pooling ("last", "last_tokens"), and with the prompts of
            its training.
        texts: texts to examine.
        words: number of words for each vector, at least 1.
        head: maps states (M, H) to logits (M, V). If None, load the head of the encoder's base.
        content: if True, leave out punctuation, stop words, single letters and other spellings of a
            word (a capital). If the tokenizer marks the start of a word, also leave out tokens that
            only continue one.

    Raises:
        InputError: if the pooling is not of the last tokens, if there is no head, or if `words` is
            below 1.
    """
    mode = getattr(encoder.pooling, "mode", None)
    if mode not in ("last", "last_tokens"):
        raise InputError(
            f"embedding_words: the vectors of {mode} pooling are not states of the language model; it needs last or last_tokens"
        )
    if words < 1:
        raise InputError(f"words: must be at least 1 (got {words})")
    if head is None:
        base = str(encoder.provenance.get("base", ""))
        loaded: Any = (
            load_pretrained(base, dtype=torch.float32, device=encoder.device, head=True).head
            if base
            else None
        )
        if loaded is not None:
            # the embeddings, and with them a tied head, may have been trained
            loaded.take(encoder.backbone)
        head = loaded
    if head is None:
        raise InputError(
            "embedding_words: the encoder's base does not have a language-model head; pass one as head="
        )
    special = special_ids(encoder.tokenizer)
    sides: tuple[Literal["document", "query"], ...] = ("document", "query")
    inner = _continuing(encoder) if content else set()
    found = [
        [
            _words(encoder, row, words, special, inner, content)
            for row in _logits(encoder, head, texts, side)
        ]
        for side in sides
    ]
    return [EmbeddingWords(*each) for each in zip(texts, *found)]


def _logits(
    encoder: Encoder, head: nn.Module, texts: Sequence[str], side: Literal["document", "query"]
) -> list[Tensor]:
    """Return the logits (V,) of each text."""
    read = int(getattr(encoder.pooling, "tokens", 1))
    found = []
    with evaluation_mode(encoder):
        for row in encoder.tokenize(texts, prompt=encoder.role_prompt(side)):
            batch = encoder.pack([row]).to(encoder.device)
            own = encoder.states(batch)[batch.pool][-read:]
            found.append(head(own.to(next(head.parameters()).dtype)).float().amax(0))
    return found


def _continuing(encoder: Encoder) -> set[int]:
    """Return the tokens that do not begin a word.

    The set is empty if the tokenizer does not mark the start of words.
    """
    pieces = encoder.tokenizer.get_vocab()
    found = {index for piece, index in pieces.items() if not piece.startswith(WORD_BEGINS)}
    return found if len(found) < len(pieces) else set()


def _words(
    encoder: Encoder, logits: Tensor, count: int, special: set[int], inner: set[int], content: bool
) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for token in logits.argsort(descending=True).tolist():
        word = str(encoder.tokenizer.decode([token])).strip()
        if token in special or not word:
            continue
        if content and (
            content_words(word) != word or not _stands_alone(word, inner=token in inner)
        ):
            continue
        found.setdefault(word.lower() if content else str(token), word)
        if len(found) == count:
            break
    return tuple(found.values())


def _stands_alone(word: str, *, inner: bool) -> bool:
    """Return whether a token has a meaning by itself.

    A character of a script without cases can have one, and most such scripts have no blanks between
    words.
    """
    return unicodedata.category(word[0]) == "Lo" or (len(word) > 1 and not inner)
