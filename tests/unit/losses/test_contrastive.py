"""The contrastive loss against a loop over rows and columns in float64: every option, combinations,
ragged rows, two processes.
"""

from __future__ import annotations

import itertools
import math
import socket
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from bothways.losses.contrastive import LLM2VEC_SCALE, ContrastiveOptions, Rows, contrastive_loss
from bothways.losses.distillation import Distillation, Teacher, distillation, temperature_of
from bothways.losses.false_negatives import NONE, BatchTexts, FalseNegatives
from bothways.losses.infonce import SIMCSE_SCALE, info_nce
from bothways.losses.matryoshka import Matryoshka
from warm import start

N, DIMENSION = 6, 8
OWNER = [0, 0, 1, 3, 3, 3, 5]  # rows 2 and 4 have no hard negative
MASKS = {
    "none": None,
    "text": FalseNegatives(same_label=False),
    "label": FalseNegatives(same_text=False),
    "margin": FalseNegatives(same_text=False, same_label=False, margin=0.05),
    "below": FalseNegatives(same_text=False, same_label=False, margin=-0.2),
    "fraction": FalseNegatives(same_text=False, same_label=False, fraction=0.7),
    "all": FalseNegatives(margin=0.1, fraction=0.95),
}


def material(seed: int = 0) -> tuple[Rows, BatchTexts, Teacher]:
    """Vectors with a common direction, so that cosines are high enough for thresholds to bite;
    every kind of false negative occurs.
    """
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(DIMENSION, generator=generator, dtype=torch.float64)

    def vectors(count: int) -> torch.Tensor:
        lengths = torch.rand(count, 1, generator=generator, dtype=torch.float64) + 0.5
        return (common + torch.randn(count, DIMENSION, generator=generator, dtype=torch.float64)) * lengths

    query, positive, negative = vectors(N), vectors(N), vectors(len(OWNER))
    positive[4] = -query[4] + 0.3 * positive[4]  # a row whose positive has a negative cosine
    rows = Rows(query.requires_grad_(), positive.requires_grad_(), negative.requires_grad_(), torch.tensor(OWNER))
    texts = BatchTexts(
        # row 1's positive is row 0's too; row 2 knows two answers, one of them the hard negative of
        # row 3; row 5's own hard negative is its positive's text
        known=torch.tensor(
            [[100, 10, NONE], [101, 10, NONE], [102, 12, 33], [103, 13, NONE], [104, 14, NONE], [105, 15, NONE]]
        ),
        positive=torch.tensor([10, 10, 12, 13, 14, 15]),
        negative=torch.tensor([30, 31, 101, 33, 34, 35, 15]),
        label=torch.tensor([7, 8, 7, NONE, NONE, 7]),
    )
    teacher = Teacher(
        torch.tensor([3.0, 1.0, 2.0, math.nan, 0.5, 4.0], dtype=torch.float64),
        torch.tensor([1.0, -1.0, 2.5, 0.0, 1.0, 2.0, math.nan], dtype=torch.float64),
    )
    return rows, texts, teacher


def judge(
    i: int, kind: str, j: int, cosine: float, own_cosine: float, options: FalseNegatives | None, texts: BatchTexts
) -> bool:
    """Whether row i leaves out the column: positive j, or hard negative j."""
    if options is None or (kind == "positive" and i == j):
        return False
    text = int((texts.positive if kind == "positive" else texts.negative)[j])
    if options.same_text and text in [known for known in texts.known[i].tolist() if known != NONE]:
        return True
    same = kind == "positive" and texts.label[j] != NONE and texts.label[i] == texts.label[j]
    if options.same_label and same:
        return True
    if options.margin is not None and cosine > own_cosine + options.margin:
        return True
    if options.fraction is None:
        return False
    limit = own_cosine * options.fraction if own_cosine >= 0 else own_cosine / options.fraction
    return cosine >= limit


def naive(rows: Rows, options: ContrastiveOptions, texts: BatchTexts, teacher: Teacher) -> tuple[torch.Tensor, int, int]:
    """(loss, rows that are right, columns left out), one number at a time."""

    def cosine(a, b):
        return (a @ b) / (a.norm() * b.norm())

    widths = options.matryoshka.widths if options.matryoshka else (DIMENSION,)
    weights = (options.matryoshka.weights if options.matryoshka else None) or (1.0,) * len(widths)
    total, right, left_out = torch.zeros((), dtype=torch.float64), 0, 0
    for width, weight in zip(widths, weights):
        for i in range(N):
            own_cosine = float(cosine(rows.query[i], rows.positive[i]).detach())
            exponents, own, scores, best = [], [], [], []
            for kind, j in [("positive", j) for j in range(N)] + [("negative", m) for m in range(len(OWNER))]:
                mine = (j if kind == "positive" else OWNER[j]) == i
                vector = (rows.positive if kind == "positive" else rows.negative)[j]
                logit = options.scale * cosine(rows.query[i][:width], vector[:width])
                if mine:
                    own.append(logit)
                    scores.append(float((teacher.positive if kind == "positive" else teacher.negative)[j]))
                sees_others = options.in_batch and (rows.in_batch is None or bool(rows.in_batch[i]))
                if not mine and not sees_others:
                    continue
                if judge(i, kind, j, float(cosine(rows.query[i], vector).detach()), own_cosine, options.false_negatives, texts):
                    left_out += width == max(widths)
                    continue
                if mine and kind == "negative":
                    logit = logit + options.own_negative_log_weight
                exponents.append(torch.exp(logit))
                best.append((float(logit.detach()), kind == "positive" and mine))
            total = total - weight * torch.log(torch.exp(own[0]) / sum(exponents))
            right += (max(best)[1]) * (width == max(widths))
            if options.distillation is not None and not any(math.isnan(score) for score in scores):
                teacher_row = [math.exp(score / options.distillation.temperature) for score in scores]
                student = [torch.exp(each) for each in own]
                for t, s in zip(teacher_row, student):
                    share = t / sum(teacher_row)
                    total = total + weight * options.distillation.weight * share * (
                        math.log(share) - torch.log(s / sum(student))
                    )
    return total, right, left_out


GRID = list(itertools.product((True, False), (0.0, math.log(2.0)), MASKS, (False, True), (False, True)))


@pytest.mark.parametrize(("in_batch", "log_weight", "mask", "matryoshka", "distilled"), GRID)
def test_loss_and_gradient_equal_the_loop(in_batch, log_weight, mask, matryoshka, distilled):
    options = ContrastiveOptions(
        scale=7.0,
        in_batch=in_batch,
        own_negative_log_weight=log_weight,
        false_negatives=MASKS[mask],
        matryoshka=Matryoshka((3, DIMENSION, 5), (0.5, 1.0, 2.0)) if matryoshka else None,
        distillation=Distillation(weight=0.7, temperature=1.5) if distilled else None,
    )
    rows, texts, teacher = material()
    result = contrastive_loss(rows, options, texts=texts, teacher=teacher)
    inputs = [rows.query, rows.positive, rows.negative]
    gradients = torch.autograd.grad(result.total, inputs)
    expected, right, left_out = naive(rows, options, texts, teacher)
    # float64, about a hundred operations
    torch.testing.assert_close(result.total, expected, rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, inputs)):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    assert (int(result.correct), int(result.masked), result.count) == (right, left_out, N)
    own_columns_only = not in_batch and mask in ("label", "none")
    assert (left_out > 0) == (mask != "none" and not own_columns_only), (
        "the mask must do something for the test to mean anything"
    )
    assert (float(result.divergence) > 0) == distilled


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("mask", ["none", "text", "all"])
def test_some_rows_see_the_columns_of_others_and_some_do_not(in_batch, mask):
    options = ContrastiveOptions(scale=7.0, in_batch=in_batch, false_negatives=MASKS[mask])
    rows, texts, teacher = material()
    rows = replace(rows, in_batch=torch.tensor([True, False, True, True, False, False]))
    result = contrastive_loss(rows, options, texts=texts)
    expected, right, left_out = naive(rows, options, texts, teacher)
    # float64, about a hundred operations
    torch.testing.assert_close(result.total, expected, rtol=1e-10, atol=1e-10)
    assert (int(result.correct), int(result.masked), result.count) == (right, left_out, N)
    everybody = naive(material()[0], options, texts, teacher)
    assert (float(everybody[0].detach()) != pytest.approx(float(expected.detach()))) == in_batch


def test_scales_are_those_of_the_papers():
    """Temperatures 0.05 (SimCSE, arXiv 2104.08821) and 0.02 (LLM2Vec's and E5-Mistral's supervised
    training).
    """
    assert ContrastiveOptions().scale == SIMCSE_SCALE == 1 / 0.05
    assert LLM2VEC_SCALE == 1 / 0.02
    assert Distillation().weight == 1.0


def test_the_methods_are_special_cases():
    rows, _, _ = material()
    queries = torch.arange(N)
    # LLM2Vec: columns are all positives, then all hard negatives; SimCSE: α = 2 adds ln 2 to a
    # row's own hard negative
    columns = torch.cat([rows.positive, rows.negative])
    plain = contrastive_loss(rows, ContrastiveOptions(scale=50.0))
    assert torch.equal(plain.total, info_nce(rows.query, columns, queries, scale=50.0).total)
    unsupervised = contrastive_loss(Rows(rows.query, rows.positive), ContrastiveOptions())
    assert torch.equal(unsupervised.total, info_nce(rows.query, rows.positive, queries).total)


def test_without_in_batch_columns_a_row_depends_on_itself_alone():
    """NV-Embed's second stage: other rows may come, go and change places."""
    rows, texts, teacher = material()
    options = ContrastiveOptions(in_batch=False, false_negatives=MASKS["all"], distillation=Distillation(temperature=1.0))

    def alone(order: list[int]) -> torch.Tensor:
        members = [[m for m, owner in enumerate(OWNER) if owner == row] for row in order]
        flat = [m for group in members for m in group]
        part = Rows(
            rows.query[order],
            rows.positive[order],
            rows.negative[flat],
            torch.tensor([place for place, group in enumerate(members) for _ in group], dtype=torch.int64),
        )
        known = BatchTexts(texts.known[order], texts.positive[order], texts.negative[flat], texts.label[order])
        return contrastive_loss(
            part, options, texts=known, teacher=Teacher(teacher.positive[order], teacher.negative[flat])
        ).total

    singles = [alone([row]) for row in range(N)]
    assert len({round(float(single.detach()), 6) for single in singles}) > 3
    for order in ([3, 5, 0, 4, 1, 2], [2, 4], [5, 1, 0]):
        torch.testing.assert_close(alone(order), sum(singles[row] for row in order), rtol=1e-12, atol=1e-12)
    in_batch = contrastive_loss(rows, ContrastiveOptions())
    assert not torch.allclose(in_batch.total, sum(singles)), "the test would not notice in-batch columns"


def test_a_teacher_that_agrees_is_at_distance_zero():
    rows, _, _ = material()
    options = ContrastiveOptions(scale=5.0, distillation=Distillation(temperature=0.5))
    cosines = torch.cosine_similarity(rows.query, rows.positive).detach()
    negatives = torch.cosine_similarity(rows.query[OWNER], rows.negative).detach()
    # any constant per row may be added to a teacher's scores
    teacher = Teacher(0.5 * 5.0 * cosines + 3.0, 0.5 * 5.0 * negatives + 3.0)
    result = contrastive_loss(rows, options, teacher=teacher)
    assert float(result.divergence) == pytest.approx(0, abs=1e-12)


def test_a_row_without_hard_negatives_or_columns_costs_nothing_outside_the_batch():
    rows, _, _ = material()
    nothing = Rows(rows.query[:1], rows.positive[:1], rows.negative[:0], torch.tensor([], dtype=torch.int64))
    result = contrastive_loss(nothing, ContrastiveOptions(in_batch=False))
    result.total.backward()
    assert float(result.total.detach()) == 0
    assert torch.isfinite(rows.query.grad).all()


def test_autocast_and_bfloat16_keep_float32():
    rows, texts, _ = material()
    small = Rows(rows.query.bfloat16(), rows.positive.bfloat16(), rows.negative.bfloat16(), rows.owner)
    options = ContrastiveOptions(false_negatives=MASKS["all"])
    outside = contrastive_loss(small, options, texts=texts).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = contrastive_loss(small, options, texts=texts).total
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


OPTIONS = {
    "in batch": ContrastiveOptions(
        scale=7.0,
        own_negative_log_weight=0.4,
        false_negatives=MASKS["all"],
        matryoshka=Matryoshka((DIMENSION, 4)),
        distillation=Distillation(temperature=1.0),
    ),
    "own columns": ContrastiveOptions(
        in_batch=False, false_negatives=MASKS["text"], distillation=Distillation(temperature=2.0)
    ),
    # The only hard negative of the second process is left out above, and counts here.
    "own negatives weigh more": ContrastiveOptions(scale=7.0, own_negative_log_weight=0.4),
    "some rows": ContrastiveOptions(scale=7.0, own_negative_log_weight=0.4),
    "directions": ContrastiveOptions(
        scale=7.0, directions=("query_to_query", "doc_to_query", "doc_to_doc"), false_negatives=MASKS["all"]
    ),
    "symmetric": ContrastiveOptions(
        scale=7.0, directions=("doc_to_query",), partition="per_direction", false_negatives=MASKS["text"]
    ),
}
SOME = torch.tensor([True, False, True, True, False, True])
SPLITS = ((0, 4), (4, 6))  # the first process has 6 hard negatives, the second one; row 4 has none


def part(rank: int) -> tuple[Rows, BatchTexts, Teacher]:
    rows, texts, teacher = material()
    first, last = SPLITS[rank]
    place = [m for m, owner in enumerate(OWNER) if first <= owner < last]
    mine = slice(first, last)
    leaves = [
        value.detach().clone().requires_grad_() for value in (rows.query[mine], rows.positive[mine], rows.negative[place])
    ]
    own = Rows(*leaves, torch.tensor([OWNER[m] - first for m in place]))
    known = BatchTexts(texts.known[mine], texts.positive[mine], texts.negative[place], texts.label[mine])
    return own, known, Teacher(teacher.positive[mine], teacher.negative[place])


def process(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = {}
    for name, options in OPTIONS.items():
        rows, texts, teacher = part(rank)
        if name == "some rows":
            rows = replace(rows, in_batch=SOME[slice(*SPLITS[rank])])
        result = contrastive_loss(rows, options, texts=texts, teacher=teacher)
        result.total.backward()
        found[name] = (result.total.detach(), result.masked, rows.query.grad, rows.positive.grad, rows.negative.grad)
    torch.save(found, f"{folder}/{rank}.pt")
    # no hard negative on any process, although the method has them
    rows = Rows(rows.query, rows.positive, rows.negative[:0], torch.tensor([], dtype=torch.int64))
    assert torch.isfinite(contrastive_loss(rows, ContrastiveOptions()).total)
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch.distributed has no gloo backend here"
)
def test_two_processes_equal_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start(process, (port, str(tmp_path)), 2)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for name, options in OPTIONS.items():
        rows, texts, teacher = material()
        if name == "some rows":
            rows = replace(rows, in_batch=SOME)
        whole = contrastive_loss(rows, options, texts=texts, teacher=teacher)
        gradients = torch.autograd.grad(whole.total, [rows.query, rows.positive, rows.negative])
        found = [each[name] for each in parts]
        # float64 sums in another order
        torch.testing.assert_close(found[0][0] + found[1][0], whole.total.detach(), rtol=1e-12, atol=1e-12)
        assert found[0][1] + found[1][1] == whole.masked
        assert (float(whole.masked) > 0) == (options.false_negatives is not None)
        for number, gradient in enumerate(gradients, 2):
            joined = torch.cat([found[0][number], found[1][number]])
            torch.testing.assert_close(joined, gradient, rtol=1e-11, atol=1e-12)


def test_a_student_that_is_right_is_left_alone_by_a_teacher_of_cosines() -> None:
    """At temperature 1 the teacher's .80, .60, .55 would push the right answer down with a gradient
    of 30.8.
    """
    cosines = torch.tensor([[0.9, 0.3, 0.2]], requires_grad=True, dtype=torch.float64)
    teacher = Teacher(torch.tensor([0.80]), torch.tensor([0.60, 0.55]))

    def gradient(temperature: float) -> torch.Tensor:
        loss = distillation(cosines * 50, 0, torch.tensor([0, 0]), teacher, Distillation(temperature=temperature))
        return torch.autograd.grad(loss, cosines)[0]

    assert temperature_of([0.80, 0.60, 0.55], scale=50) == 0.02
    assert gradient(temperature_of([0.80, 0.60, 0.55], scale=50)).abs().max() < 0.01
    assert gradient(1.0)[0, 0] > 30


def test_the_temperature_follows_the_range_of_the_scores() -> None:
    assert temperature_of([-1.0, 1.0, math.nan], scale=20) == 0.05
    assert temperature_of([0.3, 1.2], scale=20) == temperature_of([-7.5, 0.1], scale=20) == 1.0
    with pytest.raises(ValueError, match="temperature is None"):
        distillation(torch.zeros(1, 1), 0, None, Teacher(torch.zeros(1), torch.zeros(0)), Distillation())
