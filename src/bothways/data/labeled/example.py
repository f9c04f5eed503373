"""What supervised training learns from: a query, texts that answer it, texts that do not.

It stands apart as the one shape between every reader of labelled data (file dialects, conversions, mining) and every consumer
(the contrastive objective, samplers, statistics), so that none of them knows of the others. Labels of false-negative masking and
prompts travel with the row, because a blended batch (NV-Embed, arXiv 2405.17428) mixes rows of many tasks.
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
        positives: texts that match it, one at least; training draws one of them per step.
        negatives: texts that do not ("hard" negatives, in their order of hardness where it is known).
        positive_scores: a teacher's score of each positive, for distillation and for mining's thresholds; None where not given.
        negative_scores: a teacher's score of each negative.
        query_prompt: put before the query: seen by the model, never pooled. "" for none.
        document_prompt: the same before positives and negatives; symmetric tasks have it equal to `query_prompt`.
        task: the data set or task the row belongs to; homogeneous batches and statistics go by it.
        label: class or cluster of the query where there is one; rows of one label are not each other's negatives.
        labels: all right classes or clusters of the query, where it has several; `label` is the one of them that was drawn.
        positive_labels: all classes of each positive; None: each has `label`.
        negative_labels: all classes of each negative, so that another row of one of them does not take it as its negative; None where
            not known.
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
            raise InputError(f"example {self.query[:40]!r}: no positive; every row needs at least one")
        for name, scores, texts in (
            ("positive", self.positive_scores, self.positives),
            ("negative", self.negative_scores, self.negatives),
        ):
            if scores is not None and len(scores) != len(texts):
                raise InputError(f"example {self.query[:40]!r}: {len(texts)} {name}s but {len(scores)} {name} scores")
        for name, labels, texts in (
            ("positive", self.positive_labels, self.positives),
            ("negative", self.negative_labels, self.negatives),
        ):
            if labels is not None and len(labels) != len(texts):
                raise InputError(f"example {self.query[:40]!r}: {len(texts)} {name}s but labels of {len(labels)}")

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Every right class or cluster of the query, each once."""
        return tuple(dict.fromkeys((*(() if self.label is None else (self.label,)), *self.labels)))

    @property
    def labels_of_positives(self) -> tuple[tuple[str, ...], ...]:
        """The classes of each positive."""
        if self.positive_labels is not None:
            return self.positive_labels
        return (() if self.label is None else (self.label,),) * len(self.positives)

    def with_negatives(self, places: Sequence[int]) -> Example:
        """The row with some of its negatives, by their places, and what is known of these."""
        return replace(
            self,
            negatives=tuple(self.negatives[place] for place in places),
            negative_scores=None if self.negative_scores is None else tuple(self.negative_scores[place] for place in places),
            negative_labels=None if self.negative_labels is None else tuple(self.negative_labels[place] for place in places),
        )
