"""Finds columns that are not negatives: unlabeled texts in the batch that answer a row's query.

There are five tests, each an option. Their findings are joined:

    same text    the column's text is a known answer to the row's query, or the query itself, or
                 the model reads the same tokens for it as for the row's query or positive (two
                 long texts, cut to their common beginning)
    same label   the column's text belongs to a class or cluster of the row
    margin       cos(q_i, c) > cos(q_i, p_i) + margin
                 (Qwen3-Embedding, arXiv 2506.05176, §3: margin 0.1)
    fraction     cos(q_i, c) ≥ fraction · cos(q_i, p_i)
                 (NV-Retriever's TopK-PercPos, arXiv 2407.15831: 0.95 for mining)
    guide        g(q_i, c) > g(q_i, p_i) - guide_margin, with g the similarity of a second encoder
                 (GISTEmbed, arXiv 2402.16829, §3)

A row's own positive is never left out. `bothways.data.labeled.right_answers` determines the known
answers and the labels of a text.

Letters: N rows, M hard negatives, C columns, F texts that a row knows at most, G labels of a row
and W of a column at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bothways.losses.gather import gather_rows
from bothways.moved import old_names
from bothways.similarity_names import Similarity

NONE = -1
"""Fills the place of an id if there is no text or label. Ids are ≥ 0."""


@dataclass(frozen=True)
class FalseNegatives:
    """The tests to apply.

    Args:
        same_text: compare texts by the ids of `BatchTexts`.
        same_label: compare labels by the ids of `BatchTexts`.
        margin: distance in cosines, of any sign. If None, this test is skipped.
        fraction: share of the positive's cosine. If None, this test is skipped. If that cosine is
            negative, it is divided by the fraction instead (cos ≥ cos_pos / fraction), so the
            threshold lies below the positive for every fraction below 1.
        guide_margin: distance in the guide's scores. It counts only if guide vectors are given.
        guide_similarity: how the guide's vectors are compared.
    """

    same_text: bool = True
    same_label: bool = True
    margin: float | None = None
    fraction: float | None = None
    guide_margin: float = 0.0
    guide_similarity: Similarity = "cosine"


@dataclass(frozen=True)
class BatchTexts:
    """Ids of the texts behind this process's vectors. Equal texts have equal ids on all processes.

    NONE fills unused places.

    Args:
        known: (N, F) int64, the row's query first, then the texts that answer it.
        positive: (N,) int64, text of the row's positive.
        negative: (M,) int64, texts of the hard negatives.
        label: (N,) or (N, G) int64, classes or clusters of the row, G at most.
        columns: (N + M, W) int64, classes of the positives and then of the hard negatives. W is the
            maximum and equal on all processes. If None, a positive has the classes of its row, and
            a hard negative has none.
        tokens: (2 N + M,) int64, ids of the token sequences that the model reads for the queries,
            the positives and the hard negatives. If None, on all processes alike, only texts are
            compared.
    """

    known: Tensor
    positive: Tensor
    negative: Tensor
    label: Tensor
    columns: Tensor | None = None
    tokens: Tensor | None = None

    def to(self, device: torch.device | str) -> BatchTexts:
        """Copy the ids to another device."""
        moved = {
            name: getattr(self, name).to(device)
            for name in ("known", "positive", "negative", "label")
        }
        columns = None if self.columns is None else self.columns.to(device)
        tokens = None if self.tokens is None else self.tokens.to(device)
        return replace(self, **moved, columns=columns, tokens=tokens)

    @property
    def column_labels(self) -> Tensor:
        """Classes of each column of this process, (N + M, W) int64."""
        if self.columns is not None:
            return self.columns
        label = self.label.reshape(len(self.positive), -1)
        return torch.cat([label, label.new_full((len(self.negative), label.shape[1]), NONE)])


def false_negatives(
    cosines: Tensor,
    labels: Tensor,
    options: FalseNegatives,
    *,
    texts: BatchTexts | None,
    gather: bool,
) -> Tensor:
    """Find the columns that a row must not be pushed away from, (N, C) bool.

    Args:
        cosines: (N, C), without gradient.
        labels: (N,) int64, column of each row's positive.
        options: the tests to apply.
        texts: ids of this process's rows. Needed by same_text and same_label.
        gather: True if the columns are those of all processes.

    Raises:
        ValueError: if a test by text or label is requested without `texts`.
    """
    found = torch.zeros_like(cosines, dtype=torch.bool)
    if options.same_text or options.same_label:
        if texts is None:
            raise ValueError("false negatives by text or label need the texts' identities")
        # Texts and labels are exchanged together.
        rows = len(texts.positive)
        names = [torch.cat([texts.positive, texts.negative])]
        if texts.tokens is not None:
            names.append(texts.tokens[rows:])
        facts = torch.cat([torch.stack(names, dim=1), texts.column_labels], dim=1)
        facts = gather_rows(facts).rows if gather else facts
        if options.same_text:
            found |= equal_ids(texts.known, facts[:, :1])
        if options.same_text and texts.tokens is not None:
            found |= equal_ids(texts.tokens[: 2 * rows].reshape(2, rows).T, facts[:, 1:2])
        if options.same_label:
            found |= equal_ids(texts.label.reshape(rows, -1), facts[:, len(names) :])
    found |= too_near(cosines, cosines.gather(1, labels[:, None]), options)
    return found.scatter(1, labels[:, None], False)


def too_near(cosines: Tensor, positive: Tensor, options: FalseNegatives) -> Tensor:
    """Apply the tests by margin and by fraction, (N, C) bool.

    Args:
        cosines: (N, C), without gradient.
        positive: (N, 1) cosines of the rows' positives.
        options: the tests to apply.
    """
    found = torch.zeros_like(cosines, dtype=torch.bool)
    if options.margin is not None:
        found |= cosines > positive + options.margin
    if options.fraction is not None:
        found |= cosines >= torch.where(
            positive < 0, positive / options.fraction, positive * options.fraction
        )
    return found


def equal_ids(own: Tensor, columns: Tensor) -> Tensor:
    """Tell if a row's numbers (N, F) and a column's (C, W) have one in common, (N, C) bool.

    NONE is never in common.
    """
    found = torch.zeros(own.shape[0], columns.shape[0], dtype=torch.bool, device=own.device)
    for mine in own.unbind(1):
        for theirs in columns.unbind(1):
            found |= (theirs == mine[:, None]) & (mine != NONE)[:, None]
    return found


__getattr__ = old_names(__name__)
