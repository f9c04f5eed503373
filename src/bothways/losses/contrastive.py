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

V(i) excludes the columns that `false_negatives` finds. `directions` adds columns from documents to
queries and between texts of one kind. `matryoshka` sums the loss over truncated
vectors. `distillation` adds the distance from a teacher. The softmax over given columns is in
`infonce`.

Letters: N rows, M hard negatives, C columns, D embedding, K hard negatives of one row at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.losses.directions import (
    Extra,
    Further,
    Partition,
    Sides,
    extra_columns,
    vectors_of,
)
from bothways.losses.distillation import Distillation, Teacher, distillation
from bothways.losses.false_negatives import BatchTexts, FalseNegatives, false_negatives, too_near
from bothways.losses.gather import gather_rows
from bothways.losses.infonce import SIMCSE_SCALE, column_loss, cosine_logits
from bothways.losses.loss_sum import LossSum
from bothways.losses.matryoshka import Matryoshka
from bothways.losses.similarity_scores import similarity_scores

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
        directions: further kinds of columns, in batch alone; see `losses.directions`.
        partition: "joint" (one softmax over all kinds) or "per_direction" (the mean of one softmax
            for each, for doc_to_query).
    """

    scale: float = SIMCSE_SCALE
    in_batch: bool = True
    own_negative_log_weight: float = 0.0
    false_negatives: FalseNegatives | None = None
    matryoshka: Matryoshka | None = None
    distillation: Distillation | None = None
    directions: tuple[Further, ...] = ()
    partition: Partition = "joint"


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
    texts: BatchTexts | None = None,
    teacher: Teacher | None = None,
    guide: Rows | None = None,
) -> ContrastiveLoss:
    """Sum the losses of the rows.

    Args:
        rows: rows of this process. If there are several processes, each calls this once, with the
            same options.
        options: see `ContrastiveOptions`.
        texts: the texts and labels of the rows. Needed for false negatives by text or label.
        teacher: its scores. Needed for distillation.
        guide: vectors of the same texts from a second encoder, of any width, for false negatives.
            If None, there is no guide.

    Returns:
        The sum over N, the count N, and the number of rows with the positive scored highest (at the
            largest width of Matryoshka). Float32 or wider.
    """
    count = rows.query.shape[0]
    columns = _columns(rows, in_batch=options.in_batch)
    labels = torch.arange(columns.first, columns.first + count, device=rows.query.device)
    own = columns.owner == labels[:, None]
    judge = _Judge(rows, columns, labels, options, texts, guide)
    hidden = judge.documents()
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
    extras = [judge.extra(each) for each in options.directions]
    if rows.in_batch is not None:
        extras = [replace(each, hidden=each.hidden | ~rows.in_batch[:, None]) for each in extras]

    width = rows.query.shape[1]
    whole = Matryoshka((width,)) if options.matryoshka is None else options.matryoshka
    parts: list[LossSum] = []
    total = divergence = rows.query.new_zeros(
        (), dtype=torch.promote_types(rows.query.dtype, torch.float32)
    )
    for size, weight in whole.pairs(width):
        logits = cosine_logits(rows.query[:, :size], columns.vectors[:, :size], scale=options.scale)
        adjusted = _adjusted(logits, own_negative, hidden, options.own_negative_log_weight)
        part = _partitioned(adjusted, labels, extras, size, options)
        parts.append(part)
        total = total + weight * part.total
        if options.distillation is not None and teacher is not None:
            far = distillation(logits, columns.first, rows.owner, teacher, options.distillation)
            divergence = divergence + far
            total = total + weight * options.distillation.weight * far
    return ContrastiveLoss(total, count, parts[0].correct, masked, divergence.detach())


def _partitioned(
    documents: Tensor,
    labels: Tensor,
    extras: list[Extra],
    size: int,
    options: ContrastiveOptions,
) -> LossSum:
    """Sum the loss over the documents' logits (N, C) and those of the further columns."""
    further = [
        cosine_logits(each.left[:, :size], each.right[:, :size], scale=options.scale).masked_fill(
            each.never | each.hidden, float("-inf")
        )
        for each in extras
    ]
    if options.partition == "joint" or not extras:
        return column_loss(torch.cat([documents, *further], dim=1), labels)
    losses = [column_loss(documents, labels)]
    for logits, each in zip(further, extras):
        positive = documents.gather(1, labels[:, None])
        alone = each.hidden.all(1, keepdim=True)  # rows without in-batch columns
        logits = torch.where(alone & each.own, positive, logits)
        losses.append(column_loss(logits, each.own.long().argmax(1)))
    total = torch.stack([each.total for each in losses]).mean()
    return LossSum(total, losses[0].count, losses[0].correct)


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


@dataclass(frozen=True)
class _Judge:
    """Finds the columns that a row must not be pushed away from, in every direction."""

    rows: Rows
    columns: Columns
    labels: Tensor
    options: ContrastiveOptions
    texts: BatchTexts | None
    guide: Rows | None

    def documents(self) -> Tensor | None:
        """Find false negatives among the documents, (N, C) bool. None if no tests are requested."""
        tests = self.options.false_negatives
        if tests is None:
            return None
        with torch.no_grad():
            cosines = cosine_logits(self.rows.query, self.columns.vectors, scale=1.0)
            found = self._named(cosines, tests)
            if self.guide is not None:
                guided = similarity_scores(
                    self.guide.query, self._guide_columns(), tests.guide_similarity
                )
                limit = guided.gather(1, self.labels[:, None]) - tests.guide_margin
                found = found | (guided > limit)
            return found.scatter(1, self.labels[:, None], False)

    def extra(self, direction: Further) -> Extra:
        """Build the columns of a further direction, with the false negatives among them."""
        tests, rows = self.options.false_negatives, self.rows
        with torch.no_grad():
            cosines = cosine_logits(rows.query, self.columns.vectors, scale=1.0)
            by_name = None if tests is None else replace(tests, margin=None, fraction=None)
            named = (
                torch.zeros_like(cosines, dtype=torch.bool)
                if by_name is None
                else self._named(cosines, by_name)
            )
        made = extra_columns(
            direction,
            self._sides(rows, self.columns.vectors),
            self.columns.owner,
            self.labels,
            named,
            None if tests is None else self.texts,
            same_text=tests is not None and tests.same_text,
            same_label=tests is not None and tests.same_label,
        )
        if tests is None:
            return made
        with torch.no_grad():
            positive = cosines.gather(1, self.labels[:, None])
            near = too_near(cosine_logits(made.left, made.right, scale=1.0), positive, tests)
            hidden = made.hidden | (near & ~made.own)
            if self.guide is not None:
                columns = self._guide_columns()
                left, right = vectors_of(direction, self._sides(self.guide, columns))
                kind = tests.guide_similarity
                own = similarity_scores(self.guide.query, columns, kind)
                limit = own.gather(1, self.labels[:, None]) - tests.guide_margin
                hidden = hidden | ((similarity_scores(left, right, kind) > limit) & ~made.own)
        return replace(made, hidden=hidden)

    def _named(self, cosines: Tensor, tests: FalseNegatives) -> Tensor:
        return false_negatives(
            cosines, self.labels, tests, texts=self.texts, gather=self.options.in_batch
        )

    def _guide_columns(self) -> Tensor:
        assert self.guide is not None
        return _columns(self.guide, in_batch=self.options.in_batch).vectors

    @staticmethod
    def _sides(rows: Rows, columns: Tensor) -> Sides:
        return Sides(rows.query, rows.positive, columns)


def _adjusted(
    logits: Tensor, own_negative: Tensor | None, hidden: Tensor | None, log_weight: float
) -> Tensor:
    if own_negative is not None:
        logits = logits + log_weight * own_negative.to(logits.dtype)
    return logits if hidden is None else logits.masked_fill(hidden, float("-inf"))
