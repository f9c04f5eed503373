"""Further columns of the contrastive loss: from documents to queries, and texts of one kind.

The plain loss compares a query with documents. Three further kinds of columns may join its softmax
(GTE, arXiv 2308.03281, §3.2; names and definitions as in sentence-transformers'
MultipleNegativesRankingLoss):

    query_to_query   s(q_i, q_j), j ≠ i
    doc_to_query     s(p_i, q_j), the pair's own query too
    doc_to_doc       s(p_i, c) for all documents c that are not row i's own

With "joint" one softmax runs over all columns. With "per_direction" the loss is the mean of the
plain loss and the same from documents to queries (jina-embeddings-v2, arXiv 2310.19923).

A column is left out where the row must not be pushed away from its text, by the tests of
`false_negatives`:

    query_to_query   row j's positive or query answers query i, or a label is common
    doc_to_query     row i's positive answers query j, or a label is common
    doc_to_doc       c answers query i

and, if `margin`, `fraction` or a guide are given, by the column's own cosine.

Letters: N rows of this process, G rows of all processes, C documents of all processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bothways.losses.false_negatives import NONE, BatchTexts, equal_ids
from bothways.losses.gather import gather_rows

Further = Literal["query_to_query", "doc_to_query", "doc_to_doc"]
Partition = Literal["joint", "per_direction"]


class Sides(NamedTuple):
    """Vectors of one encoder from which the columns of any direction are taken.

    Attributes:
        query: (N, D) of this process.
        positive: (N, D) of this process.
        documents: (C, D) of all processes.
    """

    query: Tensor
    positive: Tensor
    documents: Tensor


@dataclass(frozen=True)
class Extra:
    """The K columns of one further direction.

    Args:
        left: (N, D) vectors of the rows.
        right: (K, D) vectors of the columns.
        own: (N, K) bool, the query of the row's pair, which is never left out. All False unless the
            direction is doc_to_query.
        never: (N, K) bool, columns that are the row's own texts of the same kind.
        hidden: (N, K) bool, false negatives.
    """

    left: Tensor
    right: Tensor
    own: Tensor
    never: Tensor
    hidden: Tensor


def vectors_of(direction: Further, sides: Sides) -> tuple[Tensor, Tensor]:
    """Return the vectors of rows (N, D) and columns (K, D) of a further direction."""
    if direction == "doc_to_doc":
        return sides.positive, sides.documents
    queries = gather_rows(sides.query).rows
    return (sides.query if direction == "query_to_query" else sides.positive), queries


def extra_columns(
    direction: Further,
    sides: Sides,
    owner: Tensor,
    labels: Tensor,
    named: Tensor,
    texts: BatchTexts | None,
    *,
    same_text: bool,
    same_label: bool,
) -> Extra:
    """Build the columns of a further direction, with the false negatives by name.

    Args:
        direction: query_to_query, doc_to_query or doc_to_doc.
        sides: the vectors.
        owner: (C,) column of each document's row's positive.
        labels: (N,) column of each row's positive.
        named: (N, C) bool, documents that are false negatives of the query by name.
        texts: identities of this process's rows. If None, no column is compared by name.
        same_text: compare texts by their ids.
        same_label: compare labels by their ids.
    """
    left, right = vectors_of(direction, sides)
    # the columns of the positives of all processes, in the order of their queries
    places = (owner == torch.arange(len(owner), device=owner.device)).nonzero().flatten()
    itself = places == labels[:, None]
    if direction == "doc_to_doc":
        own = owner == labels[:, None]
        return Extra(left, right, torch.zeros_like(own), own, named)
    hidden = torch.zeros_like(itself)
    if direction == "query_to_query":
        hidden = hidden | named[:, places]
        if texts is not None and same_text:
            hidden = hidden | equal_ids(texts.known, _all(texts.known[:, :1]))
        return Extra(left, right, torch.zeros_like(itself), itself, hidden)
    if texts is not None and same_text:
        hidden = hidden | equal_ids(_all(texts.known), texts.positive[:, None]).T
    if texts is not None and same_label:
        label = _all(texts.label.reshape(len(texts.positive), -1))
        hidden = hidden | equal_ids(label, texts.column_labels[: len(left)]).T
    return Extra(left, right, itself, torch.zeros_like(itself), hidden & ~itself)


def _all(ids: Tensor) -> Tensor:
    """Gather ids (N, F) of all processes. F may differ between them."""
    width = torch.tensor([[ids.shape[1]]], device=ids.device)
    widest = int(gather_rows(width).rows.max())
    filled = ids.new_full((len(ids), widest), NONE)
    filled[:, : ids.shape[1]] = ids
    return gather_rows(filled).rows
