"""The data of a stage as typed values: plain sources, or tasks with prompts and weights.

`training.stage.stage_data` reads the data. Nothing here opens a file, so a recipe can be written
and checked on a machine without its data.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from bothways.config import Strict
from bothways.data.batches import Batching
from bothways.data.text.documents import DocumentUnit
from bothways.training.stage.bm25_negatives import MineConfig

TEMPLATE = "nv_embed"
"""Default way to write an instruction of FlagEmbedding's dialect, see `data.labeled.templates`."""
LABELED_KEYS = ("dialect", "query_prompt", "document_prompt", "example_prompt", "template")
"""Keys of labeled data that belong to one source or task."""
WHOLE_DATA_KEYS = (
    "limit",
    "rows",
    "tasks",
    "batches",
    "mine",
    "leave_out_labeled",
    "example_prompt",
)
"""Keys that need all rows of the data at once, so that it cannot stream."""


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _named(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value):
        raise ValueError(
            "name at least one source of text: a file, a folder, a hub dataset or python-stdlib"
        )
    return value


Sources = Annotated[tuple[str, ...], BeforeValidator(_one_or_many), AfterValidator(_named)]
"""One name or a list of names."""


class TaskConfig(Strict):
    """One labeled data set among several: its name, its prompts, and its share of an epoch."""

    name: str = Field(description="unique name of its rows, in homogeneous batches and statistics")
    source: Sources = Field(description="files or folders of labeled rows")
    dialect: str | None = Field(
        default=None, description="layout of the rows, e.g. flagembedding; recognized if absent"
    )
    query_prompt: str | None = Field(
        default=None, description="put before each query; null: the rows' own"
    )
    document_prompt: str | None = Field(
        default=None,
        description="put before positives and negatives; symmetric tasks: the same as query_prompt",
    )
    example_prompt: str | None = Field(
        default=None,
        description="put before positives and negatives that are texts of a class, not its name; null: document_prompt",
    )
    template: str = Field(
        default=TEMPLATE, description="how an instruction of the rows is written before a text"
    )
    limit: int | None = Field(default=None, ge=1, description="rows from each source at most")
    part: tuple[int, int] | None = Field(
        default=None,
        description="[k, n]: rows k, k + n, k + 2 n, … of each source, if a file holds several tasks in turn",
    )
    weight: float = Field(
        default=1.0,
        gt=0,
        description="passes over its rows per epoch: 0.1 is a tenth of them (another one each epoch), 2 is twice",
    )

    @model_validator(mode="after")
    def _part_of_all(self) -> TaskConfig:
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise ValueError(f"part: {list(self.part)}; expected [k, n] with 1 <= k <= n")
        return self


def _switch(value: object) -> object:
    """Read `true` as a stream with the default buffer, and `false` as none."""
    return ({} if value else None) if isinstance(value, bool) else value


class StreamConfig(Strict):
    """Data that is read shard by shard while the stage trains, in bounded memory."""

    buffer: int = Field(
        default=10_000,
        ge=2,
        description="texts or rows that are in memory together and are shuffled; up to half as many more are read ahead",
    )


class DataConfig(Strict):
    """The training data of a stage: texts, or labeled rows for objectives that need them."""

    source: Sources = Field(
        default=(),
        description="files, folders, hub datasets (org/name:config/split) or python-stdlib",
    )
    column: str | None = Field(
        default=None, description="the text's column; found by its usual names if absent"
    )
    limit: int | None = Field(
        default=None, ge=1, description="texts or rows from each source at most"
    )
    rows: int | None = Field(
        default=None,
        ge=1,
        description="of running text, at most this many packed rows (LLM2Vec's max_train_samples)",
    )
    dialect: str | None = Field(
        default=None,
        description="labeled rows: their layout, e.g. flagembedding; recognized if absent",
    )
    query_prompt: str | None = Field(
        default=None, description="labeled rows: put before each query; null: the rows' own"
    )
    document_prompt: str | None = Field(
        default=None, description="labeled rows: put before positives and negatives"
    )
    example_prompt: str | None = Field(
        default=None,
        description="labeled rows: put before documents that are texts of a class, not its name",
    )
    template: str = Field(
        default=TEMPLATE, description="labeled rows: how their instruction is written"
    )
    leave_out_labeled: bool = Field(
        default=False,
        description="labeled rows: leave out classification and clustering, that is, rows with a label that other rows share",
    )
    tasks: tuple[TaskConfig, ...] = Field(
        default=(), description="labeled rows of several tasks, in place of source"
    )
    batches: Batching = Field(
        default="blended",
        description="labeled rows. blended: every task in one batch; homogeneous: each batch of one task",
    )
    unit: DocumentUnit | None = Field(
        default=None,
        description="one text of a .txt file: auto (its articles, else the whole file), or line; null: "
        "auto for objectives that "
        "learn from documents (causal_lm, llara), line for others",
    )
    stream: Annotated[StreamConfig | None, BeforeValidator(_switch)] = Field(
        default=None,
        description="read the data while training, for sources larger than memory: true, or a mapping with buffer. "
        "If null, read it all before the first step",
    )
    mine: MineConfig | None = Field(
        default=None,
        description="labeled rows: hard negatives by BM25 for rows without any; null: they stay without",
    )

    @model_validator(mode="after")
    def _either_way(self) -> DataConfig:
        if not self.source and not self.tasks:
            raise ValueError(
                "source: name at least one source of text: a file, a folder, a hub dataset or python-stdlib"
            )
        if self.source and self.tasks:
            raise ValueError("tasks: name the sources either there or under source")
        if self.tasks:
            key = self._set_keys("limit", *LABELED_KEYS)
            if key is not None:
                raise ValueError(f"{key}: set it for each of the tasks, data.tasks.NAME.{key}")
        names = [task.name for task in self.tasks]
        wrong = next((name for name in names if not name or names.count(name) > 1), None)
        if wrong is not None:
            raise ValueError(
                f"tasks: two are named {wrong!r}"
                if wrong
                else "tasks: one has no name; give it one"
            )
        if not all(task.source for task in self.tasks):
            raise ValueError("tasks: one has no source; name its file or folder")
        return self

    @model_validator(mode="after")
    def _streams(self) -> DataConfig:
        if self.stream is None:
            return self
        key = self._set_keys(*WHOLE_DATA_KEYS)
        if key is not None:
            raise ValueError(
                f"stream: {key} needs all rows at once, and a stream holds only some; leave one of the two out"
            )
        return self

    @property
    def all_sources(self) -> tuple[str, ...]:
        """Every source, those of tasks too."""
        return self.source + tuple(source for task in self.tasks for source in task.source)

    def all_tasks(self) -> tuple[TaskConfig, ...]:
        """Return labeled data task by task. Sources without tasks are one task without a name."""
        if self.tasks:
            return self.tasks
        own = {name: getattr(self, name) for name in ("source", "limit", *LABELED_KEYS)}
        return (TaskConfig(name="", **own),)

    def misplaced(self, wants: str) -> str | None:
        """Return the first key that has no meaning for data of a kind, or None if there is none.

        Args:
            wants: kind of the data, see `ObjectiveConfig.wants`.
        """
        if wants == "examples":
            return self._set_keys("column", "unit", "rows")
        if wants == "pairs":
            key = self._set_keys("column", "unit", "rows")
            if key is not None:
                return key
        return self._set_keys("batches", "tasks", "mine", "leave_out_labeled", *LABELED_KEYS)

    def _set_keys(self, *names: str) -> str | None:
        """Return the first of the keys with a value other than its default, or None."""
        fields = type(self).model_fields
        return next((name for name in names if getattr(self, name) != fields[name].default), None)
