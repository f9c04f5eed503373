"""Supervised contrastive learning: a query must find the text that answers it among others.

It serves the supervised stages of LLM2Vec (arXiv 2404.05961: in-batch positives and one hard
negative each, scale 50) and SimCSE (arXiv 2104.08821: NLI entailment and contradiction, scale 20),
and both stages of NV-Embed (arXiv 2405.17428: seven hard negatives, in-batch on, then off).
Positive and negatives of a row are drawn again at every step. Instructions are put before a row's
texts as its `Example` says. The model sees them, but they are never pooled.

Letters: N rows, M hard negatives, F maximum number of ids per row.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bothways.data.labeled.example import Example
from bothways.data.labeled.right_answers import RightAnswers, document_id
from bothways.encoder.batch import TokenRow, row_id
from bothways.errors import InputError
from bothways.losses.contrastive import LLM2VEC_SCALE, ContrastiveOptions
from bothways.losses.distillation import Distillation, temperature_of
from bothways.losses.false_negatives import BatchTexts, FalseNegatives
from bothways.objectives.contrastive_base import (
    ContrastiveBaseConfig,
    ContrastiveBatch,
    ContrastiveObjective,
    PooledSettings,
)
from bothways.objectives.supervised_options import DistillationConfig, FalseNegativesConfig
from bothways.objectives.supervised_rows import (
    Drawn,
    check_texts,
    draw,
    padded_table,
    teacher_scores,
)
from bothways.objectives.teacher.labeled_teacher import guided_by, scored, vectors_of_rows
from bothways.objectives.teacher.teacher_config import TeacherConfig
from bothways.objectives.teacher.vector_cache import TeacherVectors

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

log = logging.getLogger("bothways")


class SupervisedConfig(ContrastiveBaseConfig):
    """Choices of supervised contrastive learning. The defaults are LLM2Vec's supervised stage."""

    wants: ClassVar[str] = "examples"

    kind: Literal["supervised"] = "supervised"
    scale: float = Field(
        LLM2VEC_SCALE,
        gt=0,
        description="factor on the cosines, 1 / temperature. LLM2Vec uses 50, SimCSE 20",
    )
    max_length: int = Field(512, ge=1, description="tokens per text, with its instruction")
    negatives: int = Field(
        1, ge=0, description="hard negatives drawn per row, or all if it has fewer. NV-Embed uses 7"
    )
    in_batch: bool | Literal["unlabeled"] | dict[str, bool] = Field(
        default=True,
        description="other rows' positives and negatives are negatives too. NV-Embed's stage 2 uses false. unlabeled applies it to "
        "rows without a label. A mapping sets it by task, {nli: true, banking77: false}, true for tasks that are not named",
    )
    own_negative_log_weight: float = Field(
        0.0, description="added to the logits of a row's own hard negatives: SimCSE's log α"
    )
    false_negatives: FalseNegativesConfig | None = Field(
        FalseNegativesConfig(),
        description="columns to leave out. If null, none, as in LLM2Vec's and SimCSE's code",
    )
    distillation: DistillationConfig | None = Field(
        None, description="learn from positive_scores and negative_scores. If null, no"
    )

    @model_validator(mode="after")
    def _directions_need_batches(self) -> SupervisedConfig:
        if self.further and self.in_batch is False:
            raise ValueError(
                f"directions: {self.further[0]} compares texts of different rows, and in_batch is off; switch in_batch on, or leave "
                "directions out"
            )
        return self

    @property
    def stream_obstacle(self) -> str | None:
        """See `ObjectiveConfig`."""
        masks = self.false_negatives
        if self.distillation is not None or (masks is not None and masks.guide is not None):
            return "distillation and guide keep numbers of all rows"
        if isinstance(self.in_batch, dict):
            return "in_batch by task needs rows of every task at once"
        return None

    def build(self, encoder: Encoder, head: nn.Module | None = None) -> Supervised:
        """Build the objective. It sets the encoder's dropout until `release`.

        Raises:
            InputError: the family does not support a dropout, or a Matryoshka width exceeds the
                encoder's vectors.
        """
        masks, teacher = self.false_negatives, self.distillation
        options = ContrastiveOptions(
            scale=self.scale,
            in_batch=self.in_batch is not False,
            own_negative_log_weight=self.own_negative_log_weight,
            false_negatives=None
            if masks is None
            else FalseNegatives(**masks.model_dump(exclude={"guide"}, exclude_none=True)),
            matryoshka=self._matryoshka(),
            distillation=None
            if teacher is None
            else Distillation(**teacher.model_dump(exclude={"teacher"})),
            directions=self.further,
            partition=self.partition or "joint",
        )
        return Supervised(
            self._settings(encoder),
            options,
            negatives=self.negatives,
            in_batch=self.in_batch,
            guide=None if masks is None else masks.guide,
            teacher=None if teacher is None else teacher.teacher,
        )


class Supervised(ContrastiveObjective):
    """Supervised contrastive learning, see the module docstring.

    Args:
        settings, options: see `ContrastiveObjective`.
        negatives: hard negatives drawn per row.
        in_batch: rows that have in-batch negatives, as in `SupervisedConfig`. For example, {"nli":
            True, "banking77": False}.
        guide: an encoder that finds false negatives. If None, there is none.
        teacher: an encoder whose similarities are the scores for distillation. If None, rows have
            their own.
    """

    def __init__(
        self,
        settings: PooledSettings,
        options: ContrastiveOptions,
        *,
        negatives: int = 1,
        in_batch: bool | str | Mapping[str, bool] = True,
        guide: TeacherConfig | None = None,
        teacher: TeacherConfig | None = None,
    ) -> None:
        super().__init__(settings, options)
        self.negatives, self.in_batch = negatives, in_batch
        self.guide, self.teacher = guide, teacher
        self._guided: TeacherVectors | None = None
        self._answers = RightAnswers()
        self._tokenize: Callable[[list[tuple[str, str]]], list[TokenRow]] | None = None
        self._stored = ("", "")

    def prepare(self, texts: Sequence[Example], encoder: Encoder) -> Sequence[Example]:
        """Record the right answers of all rows, and remove negatives that are right answers.

        Nothing is tokenized here, because a step needs few of a row's many texts. The rows of a
        held-out set add to the recorded answers.

        Raises:
            InputError: rows have no negatives, there are no scores to learn from, an item is not an
                example or holds something other than texts, or an instruction leaves no room for
                the text.
        """
        length = self.settings.max_length
        self._tokenize = lambda some: encoder.tokenize(some, max_length=length)
        self._stored = (encoder.role_prompt("query") or "", encoder.role_prompt("document") or "")
        check_texts(texts)
        self._answers.add(texts)
        texts = self._without_answers(texts)
        learned = self.options.distillation
        if self.teacher is not None and learned is not None:
            texts = scored(texts, self.teacher, learned.temperature, device=encoder.device)
        self._check_columns(texts)
        self._settle_temperature(texts)
        for prompt in dict.fromkeys(prompt for row in texts for prompt in self._prompts(row)):
            try:
                self._tokenize([(prompt, "a")])
            except InputError as error:
                raise InputError(f"objective supervised: prompt {prompt[:60]!r}: {error}") from None
        if self.guide is not None:
            guided = vectors_of_rows(texts, self.guide, device=encoder.device, also=self._guided)
            self._guided = guided
            self.options = guided_by(self.options, guided)
        return texts

    def forget(self) -> None:
        """See `Objective`. Known answers are then those of one piece of the stream."""
        self._answers = RightAnswers()

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> ContrastiveBatch:
        """Pack queries, and one drawn positive and the drawn negatives of each row.

        A document that occurs twice is encoded once.
        """
        if self._tokenize is None:
            raise RuntimeError(
                "collate needs the tokenizer that prepare receives: call prepare first"
            )
        drawn = [draw(example, self.negatives, generator) for example in examples]
        pairs = list(zip(examples, drawn))
        documents = [(self._prompts(row)[1], row.positives[one.positive]) for row, one in pairs]
        documents += [
            (self._prompts(row)[1], row.negatives[number])
            for row, one in pairs
            for number in one.negatives
        ]
        distinct = {document: number for number, document in enumerate(dict.fromkeys(documents))}
        # A query never shares a vector, even with an equal document: if a row's positive is its own
        # query, dropout makes the two views.
        rows = self._tokenize(
            [(self._prompts(row)[0], row.query) for row in examples] + list(distinct)
        )
        batches, places = self.packed(rows)
        chosen = [
            *range(len(examples)),
            *(len(examples) + distinct[document] for document in documents),
        ]
        order = places[chosen]
        owner = torch.tensor(
            [number for number, one in enumerate(drawn) for _ in one.negatives], dtype=torch.int64
        )
        masks = self.options.false_negatives
        by_name = masks is not None and (masks.same_text or masks.same_label)
        texts = self._identities(pairs, [rows[number] for number in chosen]) if by_name else None
        alone = [not self._in_batch(row) for row in examples]
        in_batch = (
            torch.tensor([not each for each in alone])
            if self.options.in_batch and any(alone)
            else None
        )
        return ContrastiveBatch(
            batches,
            order,
            owner if self.negatives else None,
            texts,
            teacher_scores(pairs) if self.options.distillation is not None else None,
            in_batch,
            self.learning(owner, texts, torch.tensor([not each for each in alone])),
            None if self.guide is None else self._guide_vectors(pairs),
        )

    def _in_batch(self, row: Example) -> bool:
        """Return whether other rows' columns are negatives of this row."""
        if isinstance(self.in_batch, Mapping):
            return self.in_batch.get(row.task, True)
        return row.label is None if self.in_batch == "unlabeled" else bool(self.in_batch)

    def _guide_vectors(self, pairs: Sequence[tuple[Example, Drawn]]) -> Tensor:
        """Look up the guide's vectors of queries, positives and negatives, (2 N + M, G)."""
        assert self._guided is not None
        assert self.guide is not None
        ask, tell = self.guide.query_prompt, self.guide.document_prompt
        return self._guided.of(
            [(ask, row.query) for row, _ in pairs]
            + [(tell, row.positives[one.positive]) for row, one in pairs]
            + [(tell, row.negatives[number]) for row, one in pairs for number in one.negatives]
        )

    def _identities(
        self, pairs: Sequence[tuple[Example, Drawn]], rows: Sequence[TokenRow]
    ) -> BatchTexts:
        """Name the texts of a batch.

        Its queries, positives and negatives have the tokens `rows`.
        """
        known = [self._answers.known(row) for row, _ in pairs]
        labels = [self._answers.labels(row) for row, _ in pairs]
        positive = [document_id(row.positives[one.positive]) for row, one in pairs]
        negative = [
            document_id(row.negatives[number]) for row, one in pairs for number in one.negatives
        ]
        return BatchTexts(
            known=padded_table(known),
            positive=torch.tensor(positive),
            negative=torch.tensor(negative, dtype=torch.int64),
            label=padded_table(labels),
            columns=padded_table(
                [self._answers.labels_of(text) for text in positive + negative],
                self._answers.widest,
            ),
            tokens=torch.tensor([row_id(row) for row in rows], dtype=torch.int64),
        )

    def _without_answers(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Remove negatives that are right answers to their query, and log how many."""
        masks = self.options.false_negatives
        if masks is None:
            return examples
        gone, kept = 0, list(examples)
        for number, row in enumerate(examples):
            wrong = self._answers.wrong(row, by_text=masks.same_text, by_label=masks.same_label)
            if wrong:
                gone += len(wrong)
                kept[number] = row.with_negatives(
                    [place for place in range(len(row.negatives)) if place not in wrong]
                )
        if gone:
            log.warning(
                "objective supervised: %d negatives of %d rows are left out, because the data names them as right answers: "
                "positives of the same query, or texts of its label",
                gone,
                sum(new is not old for new, old in zip(kept, examples)),
            )
        return kept

    def _prompts(self, row: Example) -> tuple[str, str]:
        """Return the instructions of a row's query and documents.

        They are the row's own, or else those stored with the encoder, as in `encode_query`.
        """
        return row.query_prompt or self._stored[0], row.document_prompt or self._stored[1]

    def check(self, encoder: Encoder) -> None:
        """Accept any encoder, because the two texts of a row differ without dropout."""

    def _settle_temperature(self, examples: Sequence[Example]) -> None:
        """Choose and log the teacher's temperature from its scores, if none is given."""
        teacher = self.options.distillation
        if teacher is None or teacher.temperature is not None:
            return
        both = [
            row
            for row in examples
            if row.positive_scores is not None and row.negative_scores is not None
        ]
        scores = (
            score
            for row in both
            for score in (*(row.positive_scores or ()), *(row.negative_scores or ()))
        )
        temperature = temperature_of(scores, self.options.scale)
        log.info(
            "distillation: temperature %g, because the teacher's scores %s",
            temperature,
            "all lie in [-1, 1], as cosines do (1 / scale)"
            if temperature != 1
            else "do not all lie in [-1, 1]: logits",
        )
        self.options = replace(self.options, distillation=replace(teacher, temperature=temperature))

    def _check_columns(self, examples: Sequence[Example]) -> None:
        usable = any(example.negatives for example in examples) and self.negatives > 0
        if self.options.in_batch and len(examples) < 2 and not usable:
            raise InputError(
                f"objective supervised: needs at least two rows, or hard negatives (got {len(examples)} without any)"
            )
        self._check_tasks(examples)
        if not self.options.in_batch and not usable:
            raise InputError(
                "objective supervised: in_batch is off and no hard negatives take part, so a query has no "
                "negatives; give rows with negatives and set negatives to at least 1, or switch in_batch on"
            )
        if self.options.distillation is not None and not any(
            row.positive_scores is not None and row.negative_scores is not None for row in examples
        ):
            raise InputError(
                "objective supervised: distillation needs rows with positive_scores and negative_scores, but no row has both"
            )

    def _check_tasks(self, examples: Sequence[Example]) -> None:
        """Refuse names of tasks that do not exist, and warn of rows that have no negatives."""
        tasks = Counter(row.task for row in examples)
        if isinstance(self.in_batch, Mapping):
            unknown = next((name for name in self.in_batch if name not in tasks), None)
            if unknown is not None:
                raise InputError(
                    f"objective.in_batch: there are no rows of a task {unknown!r}; tasks are {', '.join(map(repr, tasks))}"
                )
        bare = Counter(
            row.task
            for row in examples
            if not (row.negatives and self.negatives) and not self._in_batch(row)
        )
        if bare and (self.options.in_batch or sum(bare.values()) < len(examples)):
            log.warning(
                "objective supervised: in-batch negatives are off for %d of %d rows (%.1f %%) that have no negatives (%s); they teach "
                "nothing and do not count. Mine negatives (data.mine, bothways mine), or switch in_batch on",
                sum(bare.values()),
                len(examples),
                100 * sum(bare.values()) / len(examples),
                ", ".join(
                    f"{count} of {tasks[task]} in {task or 'the data'}"
                    for task, count in bare.items()
                ),
            )
