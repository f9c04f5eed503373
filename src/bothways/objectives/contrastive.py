"""Unsupervised contrastive learning: a text must find its own second view among those of the other texts.

SimCSE (arXiv 2104.08821), the second stage of LLM2Vec (arXiv 2404.05961). The two views are two passes of the same text under
different dropout; the discrete views that the paper compares with (one word deleted, a crop) are options. Labelled rows have an
objective of their own kind (`supervised`), which steps in the same way.

Letters: N texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from bothways.backbone.dropout import active_dropout
from bothways.data.views import crop, delete_words
from bothways.encoder.batch import TokenRow
from bothways.encoder.tokenization import TextTokenizer, embedding_rows
from bothways.errors import InputError
from bothways.losses.contrastive import ContrastiveOptions
from bothways.objectives.contrastive_base import ContrastiveBaseConfig, ContrastiveBatch, ContrastiveObjective, Settings

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

Views = Literal["dropout", "delete_word", "crop"]

CROPPED = 0.1
"""Share of a text that "crop" cuts away: the best crop of SimCSE's Table 1."""


class ContrastiveConfig(ContrastiveBaseConfig):
    """Choices of unsupervised contrastive learning."""

    measurable: ClassVar[bool] = False

    kind: Literal["contrastive"] = "contrastive"
    views: Views = Field(
        "dropout", description="second view: the same text under other dropout, one word deleted, or 10 % cropped"
    )

    plain: bool | None = Field(
        None,
        description="train on the bare texts, BOS pooled, without the encoder's chat wrapper and default prompt, as LLM2Vec's code does; "
        "null: on texts as they are encoded",
    )

    def build(self, encoder: Encoder, head: nn.Module | None = None) -> Contrastive:
        """The objective; sets the encoder's dropout until `release`.

        Raises:
            InputError: a dropout that this family has no place for; a width of Matryoshka beyond the encoder's vectors.
        """
        options = ContrastiveOptions(scale=self.scale, matryoshka=self._matryoshka())
        return Contrastive(self._settings(encoder), options, views=self.views, plain=bool(self.plain))


class TextExample(NamedTuple):
    """A text whose second view is made from its words: the text, and its tokens (the first view)."""

    text: str
    row: TokenRow


class Contrastive(ContrastiveObjective):
    """See the file's head.

    Args:
        settings, options: see `ContrastiveObjective`.
        views: how the second view is made.
        plain: leave out the encoder's wrapper and default prompt, and pool BOS.
    """

    def __init__(
        self, settings: Settings, options: ContrastiveOptions, *, views: Views = "dropout", plain: bool = False
    ) -> None:
        super().__init__(settings, options)
        self.views, self.plain = views, plain
        self._tokenize: Callable[[list[str]], list[TokenRow]] | None = None
        self._checked = False

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Sequence[TokenRow] | Sequence[TextExample]:
        """Tokenise, cut to `max_length`.

        Raises:
            InputError: fewer than two texts, since a text alone has nothing to be told apart from; an item that is no text.
        """
        if len(texts) < 2:
            raise InputError(f"objective contrastive: needs at least two texts (got {len(texts)})")
        if all(text == texts[0] for text in texts):
            raise InputError(
                f"objective contrastive: all {len(texts)} texts are the same, so none can be told apart; give others"
            )
        length = self.settings.max_length
        prompt = None if self.plain else encoder.prompt()
        tokenizer = (
            TextTokenizer(encoder.tokenizer, rows=embedding_rows(encoder.backbone)) if self.plain else encoder.text_tokenizer()
        )
        rows = tokenizer(texts, prompt=prompt, max_length=length)
        if self.views == "dropout":
            return rows
        self._tokenize = lambda some: tokenizer(some, prompt=prompt, max_length=length)
        return [TextExample(text, row) for text, row in zip(texts, rows)]

    def collate(self, examples: Sequence[Any], generator: torch.Generator) -> ContrastiveBatch:
        """Both views of each text; a pass may hold both views of one text."""
        first, second = self._both_views(examples, generator)
        return ContrastiveBatch(*self.packed([*first, *second]))

    def check(self, encoder: Encoder) -> None:
        """At the first step, if dropout makes the views.

        Raises:
            InputError: no dropout is in force.
            RuntimeError: the encoder is in evaluation mode.
        """
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
