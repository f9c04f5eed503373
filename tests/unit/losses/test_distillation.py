"""The distance from a teacher's scores against a loop over rows in float64, with its gradient."""

from __future__ import annotations

import math

import pytest
import torch

from bothways.losses.distillation import Distillation, Teacher, distillation, own_places, temperature_of

OWNERS = [0, 0, 2, 2, 2, 3]
"""Rows of six hard negatives. Row 1 has none, and row 2 the most."""
ROWS, FIRST = 4, 3


def material(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Teacher]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(ROWS, FIRST + ROWS + len(OWNERS) + 2, generator=generator, dtype=torch.float64) * 5
    scores = torch.randn(ROWS + len(OWNERS), generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.tensor(OWNERS), Teacher(scores[:ROWS], scores[ROWS:])


def loop(logits: torch.Tensor, owner: list[int], teacher: Teacher, temperature: float) -> torch.Tensor:
    """Σ over rows of KL(teacher ‖ student), over each row's own positive and hard negatives."""
    total = torch.zeros((), dtype=torch.float64)
    for row in range(ROWS):
        own = [place for place, of in enumerate(owner) if of == row]
        scores = torch.stack([teacher.positive[row], *(teacher.negative[place] for place in own)])
        if scores.isnan().any():
            continue
        student = torch.stack([logits[row, FIRST + row], *(logits[row, FIRST + ROWS + place] for place in own)])
        t, p = (scores / temperature).softmax(0), student.softmax(0)
        total = total + sum(t[i] * (t[i].log() - p[i].log()) for i in range(len(t)))
    return total


@pytest.mark.parametrize("temperature", [0.05, 1.0, 3.0])
@pytest.mark.parametrize("missing", [(), ("positive",), ("negative",)])
def test_divergence_and_gradient_equal_the_loop(temperature: float, missing: tuple[str, ...]) -> None:
    logits, owner, teacher = material()
    for name in missing:
        getattr(teacher, name)[2] = math.nan
    made = distillation(logits, FIRST, owner, teacher, Distillation(temperature=temperature))
    (gradient,) = torch.autograd.grad(made, logits)
    wanted = loop(logits, OWNERS, teacher, temperature)
    (expected,) = torch.autograd.grad(wanted, logits)
    torch.testing.assert_close(made, wanted, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=1e-12)
    assert gradient.isfinite().all()


def test_rows_without_hard_negatives_have_no_divergence() -> None:
    logits, _, teacher = material()
    alone = Teacher(teacher.positive, teacher.negative[:0])
    assert distillation(logits, FIRST, None, alone, Distillation(temperature=1.0)).item() == 0


def test_a_student_with_the_teachers_distribution_has_no_divergence() -> None:
    logits, owner, teacher = material()
    with torch.no_grad():
        columns = torch.cat([teacher.positive, teacher.negative]) / 2.0 + 7.0  # a shift changes no distribution
        logits[:, FIRST : FIRST + len(columns)] = columns
    assert distillation(logits, FIRST, owner, teacher, Distillation(temperature=2.0)).abs().item() < 1e-12


def test_a_temperature_is_needed() -> None:
    logits, owner, teacher = material()
    with pytest.raises(ValueError, match="temperature is None"):
        distillation(logits, FIRST, owner, teacher, Distillation())


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [([0.8, -0.6, 1.0], 0.05), ([0.8, math.nan], 0.05), ([0.8, 1.1], 1.0), ([-4.0, 9.0], 1.0)],
)
def test_cosines_get_the_students_temperature_and_logits_get_one(scores: list[float], wanted: float) -> None:
    assert temperature_of(scores, scale=20.0) == wanted


def test_places_of_a_rows_own_documents() -> None:
    assert own_places(ROWS, torch.tensor(OWNERS)).tolist() == [[0, 4, 5, -1], [1, -1, -1, -1], [2, 6, 7, 8], [3, 9, -1, -1]]
    assert own_places(2, None).tolist() == own_places(2, torch.tensor([], dtype=torch.int64)).tolist() == [[0], [1]]
