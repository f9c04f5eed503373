"""Options of the supervised objective: learning from a teacher's scores, and false negatives."""

from __future__ import annotations

from pydantic import Field, model_validator

from bothways.config import Strict
from bothways.objectives.teacher.teacher_config import TeacherConfig


class DistillationConfig(Strict):
    """Learning from a teacher's scores of a row's documents, in addition to the labels."""

    weight: float = Field(
        default=1.0,
        gt=0,
        description="weight of the divergence from the teacher, added to the contrastive loss",
    )
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="divides the teacher's scores. If null, 1 / scale if all of them lie in [-1, 1], as cosines do, else 1, for logits",
    )
    teacher: TeacherConfig | None = Field(
        default=None,
        description="an encoder whose similarities are the scores of all rows, as it compares texts itself (teacher.similarity). If null, "
        "the rows' own scores",
    )


class FalseNegativesConfig(Strict):
    """Columns that a row is not pushed away from."""

    same_text: bool = Field(
        default=True,
        description="the query, a text that any row of the data names as an answer to it, or one cut to the same tokens",
    )
    same_label: bool = Field(
        default=True, description="a text of the same task and of a label of the row"
    )
    margin: float | None = Field(
        default=None,
        description="cosine above the positive's by more than this. Qwen3-Embedding uses 0.1",
    )
    fraction: float | None = Field(
        default=None,
        gt=0,
        description="cosine of at least this share of the positive's. NV-Retriever uses 0.95 (for mining)",
    )
    guide: TeacherConfig | None = Field(
        default=None,
        description="a second encoder: a column is left out if its similarity to the query exceeds the positive's (GIST)",
    )
    guide_margin: float | None = Field(
        default=None,
        ge=-2,
        le=2,
        description="leave out columns from this far below the positive on, in the guide's similarities. If null, 0",
    )

    @model_validator(mode="after")
    def _margin_of_a_guide(self) -> FalseNegativesConfig:
        if self.guide_margin is not None and self.guide is None:
            raise ValueError("guide_margin: there is no guide; give guide.encoder, or leave it out")
        return self
