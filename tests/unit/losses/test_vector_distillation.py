"""Distances from a teacher against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from bothways.losses.vector_distillation import (
    DISTILLATION_TEMPERATURE,
    cosine_distance,
    score_divergence,
    similarity_distance,
    squared_distance,
)

N = 5


def vectors(width: int, seed: int) -> torch.Tensor:
    return torch.randn(N, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a @ b) / (a.norm() * b.norm())


def similarities(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(N):
        for j in range(N):
            if i != j:
                total = total + (cosine(student[i], student[j]) - cosine(teacher[i], teacher[j])) ** 2 / (N - 1)
    return total


def scores(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(N):
        others = [j for j in range(N) if j != i]
        ours = [torch.exp(cosine(student[i], student[j]) / temperature) for j in others]
        theirs = [math.exp(float(cosine(teacher[i], teacher[j])) / temperature) for j in others]
        for own, known in zip(ours, theirs):
            share = known / sum(theirs)
            total = total + share * (math.log(share) - torch.log(own / sum(ours)))
    return total


CASES = {
    "cosine": (6, cosine_distance, lambda s, t: sum(1 - cosine(a, b) for a, b in zip(s, t))),
    "mse": (6, squared_distance, lambda s, t: sum(((a - b) ** 2).mean() for a, b in zip(s, t))),
    "similarities": (4, similarity_distance, similarities),
    "scores": (4, lambda s, t: score_divergence(s, t, 0.3), lambda s, t: scores(s, t, 0.3)),
}


@pytest.mark.parametrize("case", CASES)
def test_distance_and_gradient_equal_the_loop(case):
    width, ours, loop = CASES[case]
    student, teacher = vectors(6, 1), vectors(width, 2).detach()
    found, expected = ours(student, teacher), loop(student, teacher)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    one, other = torch.autograd.grad(found, student)[0], torch.autograd.grad(expected, student)[0]
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert float(found.detach()) > 0
    assert float(ours(teacher, teacher)) == pytest.approx(0, abs=1e-12), "a student that agrees is at distance 0"


def test_a_teacher_by_dot_products_and_a_student_by_distances():
    """Each side by its own similarity and temperature, against a loop."""
    student, teacher = vectors(6, 1), (3 * vectors(4, 2)).detach()
    found = score_divergence(student, teacher, 0.5, teacher_temperature=2.0, similarities=("manhattan", "dot"))
    expected = torch.zeros((), dtype=torch.float64)
    for i in range(N):
        others = [j for j in range(N) if j != i]
        ours = torch.stack([-(student[i] - student[j]).abs().sum() / 0.5 for j in others]).log_softmax(0)
        theirs = torch.stack([teacher[i] @ teacher[j] / 2.0 for j in others]).softmax(0)
        expected = expected + (theirs * (theirs.log() - ours)).sum()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    apart = similarity_distance(student, 2 * student.detach(), similarity="dot")
    products = (student @ student.T).detach() * 3
    torch.testing.assert_close(apart.detach(), (products - products.diag().diag()).square().sum() / (N - 1))


def test_the_mean_equals_torchs():
    student, teacher = vectors(6, 1), vectors(6, 2).detach()
    theirs = torch.nn.MSELoss()(student, teacher)
    torch.testing.assert_close(squared_distance(student, teacher) / N, theirs)


def test_one_text_has_nothing_to_be_compared_with():
    student = vectors(6, 1)[:1]
    assert float(score_divergence(student, student)) == 0
    assert float(similarity_distance(student, student)) == 0
    assert DISTILLATION_TEMPERATURE == 1 / 20
