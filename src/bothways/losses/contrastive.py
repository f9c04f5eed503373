"""The contrastive loss with all methods' options: visible columns, their weights, extra terms.

A row i has a query, one positive and any number of its own hard negatives. Its columns are

    in batch       [positives of all rows ; hard negatives of all rows]
                   (SimCSE, LLM2Vec, NV-Embed stage 1)
    not in batch   [own positive ; own hard negatives]
                   (NV-Embed stage 2)

of this process's rows and, in batch, of those of all processes. With s = scale · cos and V(i) the
columns that row i sees,

    ℓ_i = - log ( exp s(q_i, p_i) / Σ_{c ∈ V(i)} α^[c is an own negative] exp s(q_i, c) )

Sources: SimCSE (arXiv 2104.08821, §4: scale 20, α = 1), LLM2Vec supervised (arXiv 2404.05961: scale
50; its issue 110 names Echo embeddings as the source), NV-Embed (arXiv 2405.17428: 7 negatives).

V(i) excludes the columns that `false_negatives` finds. `matryoshka` sums the loss over truncated
vectors. `distillation` adds the distance from a teacher. The softmax over given columns is in
`infonce`.

Letters: N rows, M hard negatives, C columns, D embedding, K hard negatives of one row at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.losses.distillation import Distillation, Teacher, distillation
from bothways.losses.false_negatives import FalseNegatives, Texts, false_negatives
from bothways.losses.gather import gather_rows
from bothways.losses.infonce import SIMCSE_SCALE, column_loss, cosine_logits
from bothways.losses.loss_sum import LossSum
from bothways.losses.matryoshka import Matryoshka

LLM2VEC_SCALE = 50.0
"""Scale of LLM2Vec's supervised stage, temperature 0.02.

It is also the default for NV-Embed, because its authors do not name one (E5-Mistral's value).
"""


@dataclass(frozen=True)
class ContrastiveOptions:
    """Options of the loss.

    Args:
        scale: factor on the cosines, 1 / temperature.
        in_batch: if True, other rows' positives and hard negatives are columns too.
        own_negative_log_weight: log α of the formula above. It is added to the logits of a row's
            own hard negatives.
        false_negatives: tests for columns to leave out. If None, no column is left out.
        matryoshka: widths to which vectors are cut. If None, only the whole vector counts.
        distillation: weight and temperature of a teacher's scores. If None, scores are ignored.
    """

    scale: float = SIMCSE_SCALE
    in_batch: bool = True
    own_negative_log_weight: float = 0.0
    false_negatives: FalseNegatives | None = None
    matryoshka: Matryoshka | None = None
    distillation: Distillation | None = None


@dataclass(frozen=True)
class Rows:
    """Vectors of this process's rows, of any length.

    Args:
        query: (N, D).
        positive: (N, D).
        negative: (M, D) hard negatives of all rows. None if the method does not have any, on every
            process alike.
        owner: (M,) int64, row of each hard negative, ascending.
        in_batch: (N,) bool, rows that see other rows' columns if the options have them. None means
            all rows.
    """

    query: Tensor
    positive: Tensor
    negative: Tensor | None = None
    owner: Tensor | None = None
    in_batch: Tensor | None = None


@dataclass(frozen=True)
class ContrastiveLoss(LossSum):
    """The loss and its components.

    Args:
        masked: () number of columns left out as false negatives, summed over rows.
        divergence: () distance from the teacher, summed over rows and widths, before its weight.
    """

    masked: Tensor
    divergence: Tensor


class Columns(NamedTuple):
    """The columns that the rows of this process are compared with.

    Attributes:
        vectors: (C, D).
        owner: (C,) for each column, the column of its row's positive. So a positive owns itself.
        first: column of this process's first positive. Its other columns follow, positives first.
    """

    vectors: Tensor
    owner: Tensor
    first: int


def contrastive_loss(
    rows: Rows,
    options: ContrastiveOptions,
    *,
    texts: Texts | None = None,
    teacher: Teacher | None = None,
) -> ContrastiveLoss:
    """Sum the losses of the rows.

    Args:
        rows: rows of this process. If there are several processes, each calls this once, with the
            same options.
        options: see `ContrastiveOptions`.
        texts: the texts and labels of the rows. Needed for false negatives by text or label.
        teacher: its scores. Needed for distillation.

    Returns:
        The sum over N, the count N, and the number of rows with the positive scored highest (at the
            largest width of Matryoshka). Float32 or wider.
    """
    count = rows.query.shape[0]
    columns = _columns(rows, in_batch=options.in_batch)
    labels = torch.arange(columns.first, columns.first + count, device=rows.query.device)
    own = columns.owner == labels[:, None]
    hidden = _hidden(rows.query, columns.vectors, labels, options, texts)
    seen = (
        own | options.in_batch
        if rows.in_batch is None
        else own | (rows.in_batch[:, None] & options.in_batch)
    )
    masked = torch.zeros((), device=rows.query.device) if hidden is None else (hidden & seen).sum()
    if not options.in_batch or rows.in_batch is not None:
        hidden = ~seen if hidden is None else hidden | ~seen
    own_negative = (
        own.scatter(1, labels[:, None], False) if options.own_negative_log_weight else None
    )

    width = rows.query.shape[1]
    whole = Matryoshka((width,)) if options.matryoshka is None else options.matryoshka
    parts: list[LossSum] = []
    total = divergence = rows.query.new_zeros(
        (), dtype=torch.promote_types(rows.query.dtype, torch.float32)
    )
    for size, weight in whole.pairs(width):
        logits = cosine_logits(rows.query[:, :size], columns.vectors[:, :size], scale=options.scale)
        part = column_loss(
            _adjusted(logits, own_negative, hidden, options.own_negative_log_weight), labels
        )
        parts.append(part)
        total = total + weight * part.total
        if options.distillation is not None and teacher is not None:
            far = distillation(logits, columns.first, rows.owner, teacher, options.distillation)
            divergence = divergence + far
            total = total + weight * options.distillation.weight * far
    return ContrastiveLoss(total, count, parts[0].correct, masked, divergence.detach())


def _columns(rows: Rows, *, in_batch: bool) -> Columns:
    count = rows.query.shape[0]
    device = rows.query.device
    vectors, owner = rows.positive, torch.arange(count, device=device)
    if rows.negative is not None:
        if rows.owner is None:
            raise ValueError("hard negatives need their owners")
        vectors, owner = torch.cat([vectors, rows.negative]), torch.cat([owner, rows.owner])
    if not in_batch:
        return Columns(vectors, owner, 0)
    # Positives and negatives are gathered together, in one exchange with the same order on every
    # process.
    gathered = gather_rows(vectors)
    return Columns(gathered.rows, gather_rows(owner + gathered.offset).rows, gathered.offset)


def _hidden(
    query: Tensor, columns: Tensor, labels: Tensor, options: ContrastiveOptions, texts: Texts | None
) -> Tensor | None:
    """Find false negatives, (N, C) bool. The result is None if no tests are requested."""
    if options.false_negatives is None:
        return None
    with torch.no_grad():
        cosines = cosine_logits(query, columns, scale=1.0)
        return false_negatives(
            cosines, labels, options.false_negatives, texts=texts, gather=options.in_batch
        )


def _adjusted(
    logits: Tensor, own_negative: Tensor | None, hidden: Tensor | None, log_weight: float
) -> Tensor:
    if own_negative is not None:
        logits = logits + log_weight * own_negative.to(logits.dtype)
    return logits if hidden is None else logits.masked_fill(hidden, float("-inf"))
