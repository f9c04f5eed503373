"""The row of supervised training: a query, texts that answer it, and texts that do not.

Every reader of labeled data (file dialects, conversions, mining) makes this row, and every consumer
(the contrastive objective, samplers, statistics) takes it. Labels and prompts are part of the row,
because a blended batch (NV-Embed, arXiv 2405.17428) mixes rows of many tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bothways.errors import InputError


@dataclass(frozen=True)
class Example:
    """One row of contrastive training.

    Attributes:
        query: the text to be matched.
        positives: texts that match it, at least one. Training draws one of them for each step.
        negatives: texts that do not match it ("hard" negatives, the hardest first if that is
            known).
        positive_scores: a teacher's score of each positive, for distillation and for the thresholds
            of mining. None if not given.
        negative_scores: a teacher's score of each negative. None if not given.
        query_prompt: a text before the query that the model sees and that is never pooled. "" for
            none.
        document_prompt: the same before positives and negatives. Symmetric tasks have the prompt of
            the query here.
        task: the dataset or task of the row. Homogeneous batches and statistics go by it.
        label: the class or cluster of the query. Rows of one label are not each other's negatives.
            None if there is none.
        labels: all classes or clusters of the query, if it has several. `label` is one of them.
        positive_labels: all classes of each positive. If None, each has `label`.
        negative_labels: all classes of each negative, so that another row of such a class does not
            take it as its negative. None if not known.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    positive_scores: tuple[float, ...] | None = None
    negative_scores: tuple[float, ...] | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    task: str = ""
    label: str | None = None
    labels: tuple[str, ...] = ()
    positive_labels: tuple[tuple[str, ...], ...] | None = None
    negative_labels: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        if not self.positives:
            raise InputError(
                f"example {self.query[:40]!r}: no positive; every row needs at least one"
            )
        for name, scores, texts in (
            ("positive", self.positive_scores, self.positives),
            ("negative", self.negative_scores, self.negatives),
        ):
            if scores is not None and len(scores) != len(texts):
                raise InputError(
                    f"example {self.query[:40]!r}: {len(texts)} {name}s but {len(scores)} {name} scores"
                )
        for name, labels, texts in (
            ("positive", self.positive_labels, self.positives),
            ("negative", self.negative_labels, self.negatives),
        ):
            if labels is not None and len(labels) != len(texts):
                raise InputError(
                    f"example {self.query[:40]!r}: {len(texts)} {name}s but labels of {len(labels)}"
                )

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Every class or cluster of the query, each once."""
        return tuple(dict.fromkeys((*(() if self.label is None else (self.label,)), *self.labels)))

    @property
    def labels_of_positives(self) -> tuple[tuple[str, ...], ...]:
        """The classes of each positive."""
        if self.positive_labels is not None:
            return self.positive_labels
        return (() if self.label is None else (self.label,),) * len(self.positives)

    def with_negatives(self, places: Sequence[int]) -> Example:
        """Return the row with only the negatives at these places, their scores and labels."""
        return replace(
            self,
            negatives=tuple(self.negatives[place] for place in places),
            negative_scores=None
            if self.negative_scores is None
            else tuple(self.negative_scores[place] for place in places),
            negative_labels=None
            if self.negative_labels is None
            else tuple(self.negative_labels[place] for place in places),
        )
