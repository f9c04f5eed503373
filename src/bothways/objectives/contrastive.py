"""Unsupervised contrastive learning: a text must find its own second view among other texts'.

This is SimCSE (arXiv 2104.08821), the second stage of LLM2Vec (arXiv 2404.05961). The two views are
two passes of the same text with different dropout. The discrete views that the paper compares with
(one word deleted, a crop) are options. Labeled rows have a separate objective (`supervised`) with
the same step. If a text occurs again in the batch, its copies are not its negatives. SimCSE's and
LLM2Vec's code treat such copies as negatives.

Letters: N texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from bothways.attention.positions import table_positions
from bothways.backbone.dropout import active_dropout
from bothways.data.labeled.right_answers import document_id
from bothways.data.text.text_views import crop, delete_words
from bothways.encoder.batch import TokenRow, row_id
from bothways.encoder.texts.embedding_rows import embedding_rows
from bothways.encoder.texts.stored_rows import OnDemand, stored_rows
from bothways.encoder.texts.tokenization import TextTokenizer
from bothways.errors import InputError
from bothways.losses.contrastive import ContrastiveOptions
from bothways.losses.false_negatives import NONE, BatchTexts, FalseNegatives
from bothways.objectives.contrastive_base import (
    ContrastiveBaseConfig,
    ContrastiveBatch,
    ContrastiveObjective,
    PooledSettings,
)

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

Views = Literal["dropout", "delete_word", "crop"]

CROPPED = 0.1
"""Share of a text that "crop" removes, the best value in SimCSE's Table 1."""


COPIES = FalseNegatives(same_text=True, same_label=False)
"""A text's copies are left out by their names. Unlabeled texts have no classes."""


class ContrastiveConfig(ContrastiveBaseConfig):
    """Choices of unsupervised contrastive learning."""

    measurable: ClassVar[bool] = False

    kind: Literal["contrastive"] = "contrastive"
    views: Views = Field(
        "dropout",
        description="second view: the same text under other dropout, one word deleted, or 10 % cropped",
    )

    plain: bool | None = Field(
        None,
        description="train on the bare texts, without the encoder's chat wrapper and default prompt and with BOS pooled, as LLM2Vec's "
        "code does. If null, train on texts in the form that is encoded",
    )

    @property
    def stream_obstacle(self) -> str | None:
        """See `ObjectiveConfig`."""
        return None

    def build(self, encoder: Encoder, head: nn.Module | None = None) -> Contrastive:
        """Build the objective. It sets the encoder's dropout until `release`.

        Raises:
            InputError: the family does not support a dropout, or a Matryoshka width exceeds the
                encoder's vectors.
        """
        options = ContrastiveOptions(
            scale=self.scale,
            matryoshka=self._matryoshka(),
            false_negatives=COPIES,
            directions=self.further,
            partition=self.partition or "joint",
        )
        return Contrastive(
            self._settings(encoder), options, views=self.views, plain=bool(self.plain)
        )


class TextExample(NamedTuple):
    """A text whose second view is made from its words: the text and its tokens (first view)."""

    text: str
    row: TokenRow


class Contrastive(ContrastiveObjective):
    """Unsupervised contrastive learning, see the module docstring.

    Args:
        settings, options: see `ContrastiveObjective`.
        views: how the second view is made.
        plain: leave out the encoder's wrapper and default prompt, and pool BOS.
    """

    def __init__(
        self,
        settings: PooledSettings,
        options: ContrastiveOptions,
        *,
        views: Views = "dropout",
        plain: bool = False,
    ) -> None:
        super().__init__(settings, options)
        self.views, self.plain = views, plain
        self._tokenize: Callable[[list[str]], list[TokenRow]] | None = None
        self._checked = False
        # maps the `row_id` of each spelling of a text to that of its first spelling
        self._copies: dict[int, int] = {}

    def prepare(
        self, texts: Sequence[str], encoder: Encoder
    ) -> Sequence[TokenRow] | Sequence[TextExample]:
        """Tokenize and cut to `max_length`.

        Raises:
            InputError: there are fewer than two texts or only copies of one, so a text has no
                negatives, or an item is not a text.
        """
        if len(texts) < 2:
            raise InputError(f"objective contrastive: needs at least two texts (got {len(texts)})")
        if all(text == texts[0] for text in texts):
            raise InputError(
                f"objective contrastive: all {len(texts)} texts are the same, so there are no negatives; give different texts"
            )
        length = self.settings.max_length
        prompt = None if self.plain else encoder.prompt()
        tokenizer = (
            TextTokenizer(
                encoder.tokenizer,
                rows=embedding_rows(encoder.backbone),
                most=table_positions(encoder.backbone),
            )
            if self.plain
            else encoder.text_tokenizer()
        )
        rows = stored_rows(
            texts,
            lambda some, first: tokenizer(some, prompt=prompt, max_length=length, first=first),
        )
        if len(self._names(texts, rows)) < 2:
            raise InputError(
                f"objective contrastive: all {len(texts)} texts are the same in their first {length} tokens (objective.max_length), so "
                "there are no negatives; give different texts, or raise max_length"
            )
        if self.views == "dropout":
            return rows
        self._tokenize = lambda some: tokenizer(some, prompt=prompt, max_length=length)
        return OnDemand(lambda number: TextExample(texts[number], rows[number]), range(len(texts)))

    def forget(self) -> None:
        """See `Objective`."""
        self._copies = {}

    def collate(self, examples: Sequence[Any], generator: torch.Generator) -> ContrastiveBatch:
        """Make both views of each text, and find texts that are copies of each other.

        A pass may contain both views of one text.
        """
        first, second = self._both_views(examples, generator)
        read = [row_id(row) for row in first]
        names = torch.tensor(
            [self._copies.get(number, number) for number in read], dtype=torch.int64
        )
        texts = BatchTexts(
            known=names[:, None],
            positive=names,
            negative=names[:0],
            label=torch.full_like(names, NONE),
        )
        every = torch.ones(len(names), dtype=torch.bool)
        learning = self.learning(torch.empty(0, dtype=torch.int64), texts, every)
        return ContrastiveBatch(*self.packed([*first, *second]), texts=texts, learning=learning)

    def check(self, encoder: Encoder) -> None:
        """At the first step, check that dropout is active if it makes the views.

        Raises:
            InputError: no dropout is active.
            RuntimeError: the encoder is in evaluation mode.
        """
        if self._checked or self.views != "dropout":
            return
        if not encoder.training:
            raise RuntimeError(
                "dropout makes the two views, but the encoder is in evaluation mode; call encoder.train() first"
            )
        if not active_dropout(encoder):
            raise InputError(
                "objective.views: 'dropout' needs dropout, but none is active in the model, so both views would be equal; set "
                "attention_dropout (LLM2Vec: 0.3), hidden_dropout (SimCSE: 0.1) or LoRA dropout"
            )
        self._checked = True

    def _names(self, texts: Sequence[str], rows: Sequence[TokenRow]) -> set[int]:
        """Name the texts by the tokens that the model reads.

        Texts that differ only in white space or Unicode composition are recorded as copies.
        """
        first: dict[int, int] = {}
        names = set()
        for text, row in zip(texts, rows):
            read = row_id(row)
            name = first.setdefault(document_id(text), read)
            if name != read:
                self._copies[read] = self._copies.get(name, name)
            names.add(self._copies.get(read, read))
        return names

    def _both_views(
        self, examples: Sequence[Any], generator: torch.Generator
    ) -> tuple[list[TokenRow], list[TokenRow]]:
        if self.views == "dropout":
            return list(examples), list(examples)
        if self._tokenize is None:
            raise RuntimeError(
                "collate needs the tokenizer that prepare receives: call prepare first"
            )
        if self.views == "delete_word":
            texts = [delete_words(example.text, 1, generator) for example in examples]
        else:
            texts = [crop(example.text, CROPPED, generator) for example in examples]
        return [example.row for example in examples], self._tokenize(texts)
