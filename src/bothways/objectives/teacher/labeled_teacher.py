"""Asks a teacher about labeled rows: vectors of all their texts, and cosines as scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bothways.data.labeled.example import Example
from bothways.objectives.teacher.teacher_config import TeacherConfig
from bothways.objectives.teacher.vector_cache import Prompted, TeacherVectors, teacher_vectors


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


def scored(
    rows: Sequence[Example], config: TeacherConfig, *, device: torch.device
) -> list[Example]:
    """Return the rows with the teacher's cosines as scores of their positives and negatives.

    Raises:
        InputError: as `teacher_vectors`.
    """
    vectors = vectors_of_rows(rows, config, device=device)

    def cosines(query: Tensor, texts: Sequence[str]) -> tuple[float, ...]:
        if not texts:
            return ()
        documents = F.normalize(
            vectors.of([(config.document_prompt, text) for text in texts]), dim=-1
        )
        return tuple((documents @ query).clamp(-1, 1).tolist())

    found = []
    for row in rows:
        query = F.normalize(vectors.of([(config.query_prompt, row.query)]), dim=-1)[0]
        found.append(
            replace(
                row,
                positive_scores=cosines(query, row.positives),
                negative_scores=cosines(query, row.negatives),
            )
        )
    return found
