"""Asks a teacher about labeled rows: vectors of all their texts, and similarities as scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from bothways.data.labeled.example import Example
from bothways.losses.contrastive import ContrastiveOptions
from bothways.losses.false_negatives import FalseNegatives
from bothways.objectives.teacher.teacher_config import TeacherConfig
from bothways.objectives.teacher.vector_cache import Prompted, TeacherVectors, teacher_vectors
from bothways.similarity import prepared, scores


def vectors_of_rows(
    rows: Sequence[Example],
    config: TeacherConfig,
    *,
    device: torch.device,
    also: TeacherVectors | None = None,
) -> TeacherVectors:
    """Return the teacher's vectors of every query, positive and negative.

    Args:
        rows: the rows.
        config: the teacher, with its prompts.
        device: device of the teacher.
        also: vectors of further rows, which the result holds too. If None, there are none.

    Raises:
        InputError: as `teacher_vectors`.
    """
    texts: list[Prompted] = []
    for row in rows:
        texts.append((config.query_prompt, row.query))
        texts += [(config.document_prompt, text) for text in (*row.positives, *row.negatives)]
    found = teacher_vectors(config, texts, device=device)
    return found if also is None else also.joined(found)


def guided_by(options: ContrastiveOptions, guide: TeacherVectors) -> ContrastiveOptions:
    """Return options of a loss with a guide, whose vectors are compared as the guide states."""
    tests = options.false_negatives or FalseNegatives()
    tests = replace(tests, guide_similarity=guide.similarity)
    return replace(options, false_negatives=tests)


def scored(
    rows: Sequence[Example],
    config: TeacherConfig,
    temperature: float | None = None,
    *,
    device: torch.device,
) -> list[Example]:
    """Return the rows with the teacher's scores of their positives and negatives.

    They are cosines, or the similarity that the teacher states.

    Args:
        rows: the rows.
        config: the teacher, with its prompts.
        temperature: divides the scores. If None, it will be chosen from them.
        device: device of the teacher.

    Raises:
        InputError: as `teacher_vectors`, or the scores are distances and there is no temperature.
    """
    vectors = vectors_of_rows(rows, config, device=device)
    if temperature is None:
        vectors.refuse_distances(config, "objective supervised", "distillation.temperature")

    def asked(prompt: str, texts: Sequence[str]) -> np.ndarray:
        wide = vectors.of([(prompt, text) for text in texts]).double().numpy()
        return prepared(wide, vectors.similarity)

    def scores_of(query: str, texts: Sequence[str]) -> tuple[float, ...]:
        if not texts:
            return ()
        sides = asked(config.query_prompt, [query]), asked(config.document_prompt, texts)
        return tuple(scores(*sides, vectors.similarity)[0].tolist())

    return [
        replace(
            row,
            positive_scores=scores_of(row.query, row.positives),
            negative_scores=scores_of(row.query, row.negatives),
        )
        for row in rows
    ]
