"""Distillation: the encoder learns a teacher's vectors of plain texts.

The teacher is any encoder, or a function. Its vectors are computed once and kept on disk (see
`teacher`). If its vectors have another width, a linear layer is trained behind the pooling. It
becomes part of the encoder, unless `keep_projection` is false.

Letters: N texts, D the student's and E the teacher's width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bothways.encoder.batch import TokenBatch, TokenRow
from bothways.encoder.folder.head_modules import check_room, with_dense
from bothways.encoder.texts.stored_rows import OnDemand, prompted_rows
from bothways.errors import InputError
from bothways.losses.matryoshka import Matryoshka
from bothways.losses.vector_distillation import (
    DISTILLATION_TEMPERATURE,
    cosine_distance,
    score_divergence,
    similarity_distance,
    squared_distance,
)
from bothways.objectives.objective import Backward
from bothways.objectives.pooled import PooledConfig, PooledObjective, PooledSettings
from bothways.objectives.step_output import StepOutput
from bothways.objectives.teacher.teacher_config import TeacherConfig
from bothways.objectives.teacher.vector_cache import TeacherVectors, teacher_vectors
from bothways.similarity_names import NAMES, Similarity

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

log = logging.getLogger("bothways")


class DistilledConfig(PooledConfig):
    """Choices of distillation from a teacher encoder."""

    measurable: ClassVar[bool] = True

    kind: Literal["distillation"] = "distillation"
    teacher: TeacherConfig = Field(description="the encoder whose vectors are learned")
    cosine: float = Field(default=1.0, ge=0, description="weight of 1 - cosine with its vector")
    mse: float = Field(
        default=0.0, ge=0, description="weight of the squared distance from its vector"
    )
    similarities: float = Field(
        default=0.0,
        ge=0,
        description="weight of the squared difference of the cosines of all texts of a batch. If teacher and encoder both state "
        "another similarity, of that one",
    )
    scores: float = Field(
        default=1.0,
        ge=0,
        description="weight of the divergence of each text's softmax over the other texts of a batch, by the similarity that "
        "the teacher and the encoder state",
    )
    temperature: float = Field(
        default=DISTILLATION_TEMPERATURE,
        gt=0,
        description="scores: divides the encoder's similarities, and the teacher's",
    )
    teacher_temperature: float | None = Field(
        default=None,
        gt=0,
        description="scores: divides the teacher's similarities. If null, as temperature, or 1 for dot products of a teacher whose "
        "vectors are longer than 1",
    )
    projection: bool | None = Field(
        default=None,
        description="train a linear layer to the teacher's width. If null, if the widths differ and cosine or mse need it",
    )
    keep_projection: bool = Field(
        default=True,
        description="the layer becomes part of the encoder, and its vectors have the teacher's width. false: it is discarded, "
        "and similarities and scores are learned without it",
    )

    @model_validator(mode="after")
    def _learns(self) -> DistilledConfig:
        if self.cosine == self.mse == self.similarities == self.scores == 0:
            raise ValueError(
                "cosine: all four weights are 0, so nothing is learned; set one of cosine, mse, similarities and scores"
            )
        if self.teacher.document_prompt:
            raise ValueError(
                "teacher.document_prompt: texts of this objective are plain, and get the teacher's query_prompt; give the prompt there"
            )
        if self.matryoshka is not None and (self.cosine or self.mse):
            raise ValueError(
                "matryoshka: the teacher's vectors have one width; set cosine and mse to 0, and learn similarities or scores"
            )
        return self

    def build(self, encoder: Encoder, head: nn.Module | None = None) -> Distilled:
        """Build the objective. It sets the encoder's dropout until `release`.

        The teacher is asked for the vector of one text, which tells its width.

        Raises:
            InputError: the family does not support a dropout, a Matryoshka width exceeds the
                encoder's vectors, the teacher cannot encode, its vectors have another width and
                `projection` is false, or its similarity does not fit the other options.
        """
        prompt = self.teacher.query_prompt
        one = teacher_vectors(self.teacher, [(prompt, "a")], device=encoder.device)
        self._check_similarity(encoder, one)
        width = one.width
        linear = self._linear(encoder, width)
        keep = linear is not None and self.keep_projection
        if keep:
            check_room(encoder.pooling, "keep_projection")
        if self.mse and encoder.options.similarity != one.similarity:
            log.warning(
                "objective distillation: mse learns vectors that teacher %s compares by %s, and the encoder will be saved to compare "
                'by %s; to rank as the teacher does, write "similarity_fn_name": "%s" into its config_sentence_transformers.json',
                self.teacher.encoder,
                NAMES[one.similarity],
                NAMES[encoder.options.similarity],
                one.similarity,
            )
        return Distilled(
            self._settings(encoder),
            self if self.teacher_temperature else self._with_temperature(one),
            linear=linear,
            keep=keep,
            similarities=(encoder.options.similarity, one.similarity),
        )

    def _check_similarity(self, encoder: Encoder, teacher: TeacherVectors) -> None:
        """Refuse to compare numbers of two kinds, and distances without a temperature."""
        kind, own = teacher.similarity, encoder.options.similarity
        if self.similarities and kind != own:
            raise InputError(
                f"objective distillation: similarities compares numbers, but teacher {self.teacher.encoder} compares by {NAMES[kind]} "
                f"and the encoder by {NAMES[own]}; learn scores instead, or set teacher.similarity to {own}"
            )
        if self.scores and self.teacher_temperature is None:
            teacher.refuse_distances(self.teacher, "objective distillation", "teacher_temperature")

    def _with_temperature(self, teacher: TeacherVectors) -> DistilledConfig:
        chosen = teacher.temperature(self.temperature)
        return self.model_copy(update={"teacher_temperature": chosen})

    def _linear(self, encoder: Encoder, width: int) -> nn.Linear | None:
        """Make the layer from the encoder's to the teacher's width, or None if there is none."""
        own, needs = encoder.dimension, bool(self.cosine or self.mse)
        if self.projection is False and needs and width != own:
            raise InputError(
                f"objective distillation: the teacher's vectors have {width} numbers and the encoder's {own}, so cosine and mse need "
                "a projection; leave projection out, or set both to 0 and learn similarities or scores"
            )
        if not (self.projection or (self.projection is None and needs and width != own)):
            return None
        linear = nn.Linear(own, width)
        # distances of vectors stay as they are, as far as the narrower width holds them
        nn.init.orthogonal_(linear.weight)
        nn.init.zeros_(linear.bias)
        return linear


class TaughtText(NamedTuple):
    """The tokens of a text, and the text itself, by which the teacher's vector is found."""

    row: TokenRow
    text: str


@dataclass(frozen=True)
class DistilledBatch:
    """N texts in passes.

    Args:
        passes: every text.
        order: (N,) int64. Vector order[i] of all passes belongs to text i.
        teacher: (N, E) float32.
    """

    passes: tuple[TokenBatch, ...]
    order: Tensor
    teacher: Tensor

    def to(self, device: torch.device | str) -> DistilledBatch:
        """Return the same batch on another device."""
        return replace(
            self,
            passes=tuple(batch.to(device) for batch in self.passes),
            order=self.order.to(device),
            teacher=self.teacher.to(device),
        )


class _Both(nn.Module):
    """Returns vectors (n, D) and their projections (n, E) next to each other."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, vectors: Tensor) -> Tensor:
        wide = vectors.to(self.linear.weight.dtype)
        return torch.cat([wide, self.linear(wide)], dim=-1)


class Distilled(PooledObjective[DistilledBatch]):
    """Distillation, see the module docstring.

    Args:
        settings: see `PooledObjective`.
        config: the choices.
        linear: layer to the teacher's width. If None, there is none.
        keep: put the layer behind the encoder's pooling.
        similarities: how the encoder's and the teacher's vectors are compared.
    """

    def __init__(
        self,
        settings: PooledSettings,
        config: DistilledConfig,
        *,
        linear: nn.Linear | None = None,
        keep: bool = True,
        similarities: tuple[Similarity, Similarity] = ("cosine", "cosine"),
    ) -> None:
        super().__init__(settings)
        self.config, self.keep, self.similarities = config, keep, similarities
        if linear is not None:
            self.projection = linear if keep else _Both(linear)
        self._vectors: TeacherVectors | None = None

    def hand_over(self, encoder: Encoder) -> None:
        """Move a layer that is kept behind the encoder's pooling."""
        if isinstance(self.projection, nn.Linear):
            encoder.pooling = with_dense(
                encoder.pooling, self.projection, nn.Identity(), width=encoder.dimension
            )
            self.projection = nn.Identity()

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Sequence[TaughtText]:
        """Tokenize the texts, and get the teacher's vectors.

        Raises:
            InputError: there are fewer than two texts for similarities or scores, or as
                `teacher_vectors` does.
        """
        if len(texts) < 2 and (self.config.similarities or self.config.scores):
            raise InputError(
                f"objective distillation: similarities and scores compare at least two texts (got {len(texts)})"
            )
        teacher = self.config.teacher
        found = teacher_vectors(
            teacher, [(teacher.query_prompt, text) for text in texts], device=encoder.device
        )
        self._vectors = found if self._vectors is None else self._vectors.joined(found)
        rows = prompted_rows(encoder, texts, self.settings.max_length)
        return OnDemand(lambda number: TaughtText(rows[number], texts[number]), range(len(texts)))

    def collate(self, examples: Sequence[TaughtText], generator: torch.Generator) -> DistilledBatch:
        """Pack the texts and look up the teacher's vectors. Nothing is random."""
        if self._vectors is None:
            raise RuntimeError("collate needs the vectors that prepare gets: call prepare first")
        passes, order = self.packed([each.row for each in examples])
        prompt = self.config.teacher.query_prompt
        teacher = self._vectors.of([(prompt, each.text) for each in examples])
        return DistilledBatch(passes, order, teacher)

    def count(self, batch: DistilledBatch) -> int:
        """Return N."""
        return len(batch.order)

    def step(
        self,
        encoder: Encoder,
        batch: DistilledBatch,
        *,
        scale: float,
        backward: Backward,
        seed: int,
    ) -> StepOutput:
        """Run all passes, the loss and its gradients.

        Metrics: each distance with a weight, per text, by its name in the recipe.
        """

        def loss(vectors: Tensor) -> tuple[Tensor, tuple[Tensor, dict[str, Tensor]]]:
            total, parts = self._loss(vectors[batch.order], batch.teacher)
            return total * scale, (total.detach(), parts)

        total, parts = self.run(encoder, batch.passes, loss, backward=backward, seed=seed)
        count = self.count(batch)
        return StepOutput(total, count, {name: part / count for name, part in parts.items()})

    def _loss(self, vectors: Tensor, teacher: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of all distances, and each of them, summed over texts."""
        own = projected = vectors
        if isinstance(self.projection, _Both):
            own, projected = vectors.split(
                [vectors.shape[1] - teacher.shape[1], teacher.shape[1]], dim=1
            )
        config = self.config
        parts: dict[str, Tensor] = {}
        if config.cosine:
            parts["cosine"] = cosine_distance(projected, teacher)
        if config.mse:
            parts["mse"] = squared_distance(projected, teacher)
        widths = config._matryoshka() or Matryoshka((own.shape[1],))
        for name, distance in (
            ("similarities", partial(similarity_distance, similarity=self.similarities[0])),
            (
                "scores",
                partial(
                    score_divergence,
                    temperature=config.temperature,
                    teacher_temperature=config.teacher_temperature,
                    similarities=self.similarities,
                ),
            ),
        ):
            if getattr(config, name):
                each = [
                    weight * distance(own[:, :size], teacher)
                    for size, weight in widths.pairs(own.shape[1])
                ]
                parts[name] = torch.stack(each).sum()
        total = torch.stack([getattr(config, name) * part for name, part in parts.items()]).sum()
        return total, {name: part.detach() for name, part in parts.items()}
