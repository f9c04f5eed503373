"""Where a stage's data comes from, as typed values: plain sources, or tasks with prompts and weights.

It stands apart from the run because labelled data has choices of its own, and from `training.stage.stage_data`, which reads it: a recipe
can be written and checked where none of its files are.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from bothways.config import Strict
from bothways.data.batches import Batching
from bothways.data.text.documents import Unit
from bothways.training.stage.bm25_negatives import MineConfig

#: How an instruction of FlagEmbedding's dialect is written unless the recipe says otherwise; see `bothways.data.labeled.templates`.
TEMPLATE = "nv_embed"
#: Keys of labelled data that belong to one source or task.
LABELLED_KEYS = ("dialect", "query_prompt", "document_prompt", "example_prompt", "template")


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _named(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value):
        raise ValueError("name at least one source of text: a file, a folder, a hub dataset or python-stdlib")
    return value


#: One name or a list of them.
Sources = Annotated[tuple[str, ...], BeforeValidator(_one_or_many), AfterValidator(_named)]


class TaskConfig(Strict):
    """One labelled data set among several: what it is called, how its rows are prompted, how much of an epoch it makes."""

    name: str = Field(description="what its rows are called in homogeneous batches and statistics; unique")
    source: Sources = Field(description="files or folders of labelled rows")
    dialect: str | None = Field(default=None, description="layout of the rows, e.g. flagembedding; found out when absent")
    query_prompt: str | None = Field(default=None, description="put before each query; null: what the rows bring")
    document_prompt: str | None = Field(
        default=None, description="put before positives and negatives; symmetric tasks: the same as query_prompt"
    )
    example_prompt: str | None = Field(
        default=None,
        description="put before positives and negatives that are texts of a class and not its name; null: as document_prompt",
    )
    template: str = Field(default=TEMPLATE, description="how an instruction that the rows bring is written before a text")
    limit: int | None = Field(default=None, ge=1, description="rows from each source at most")
    part: tuple[int, int] | None = Field(
        default=None, description="[k, n]: rows k, k + n, k + 2 n, … of each source, where a file holds several tasks in turn"
    )
    weight: float = Field(
        default=1.0, gt=0, description="passes over its rows per epoch: 0.1 a tenth of them (another one each epoch), 2 twice"
    )

    @model_validator(mode="after")
    def _part_of_all(self) -> TaskConfig:
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise ValueError(f"part: {list(self.part)}; expected [k, n] with 1 <= k <= n")
        return self


class DataConfig(Strict):
    """Where the training data comes from: texts, or labelled rows for objectives that learn from them."""

    source: Sources = Field(default=(), description="files, folders, hub datasets (org/name:config/split) or python-stdlib")
    column: str | None = Field(default=None, description="the text's column; found by its usual names when absent")
    limit: int | None = Field(default=None, ge=1, description="texts or rows from each source at most")
    rows: int | None = Field(
        default=None, ge=1, description="of running text: the first packed rows at most (LLM2Vec's max_train_samples)"
    )
    dialect: str | None = Field(
        default=None, description="labelled rows: their layout, e.g. flagembedding; found out when absent"
    )
    query_prompt: str | None = Field(
        default=None, description="labelled rows: put before each query; null: what the rows bring"
    )
    document_prompt: str | None = Field(default=None, description="labelled rows: put before positives and negatives")
    example_prompt: str | None = Field(
        default=None, description="labelled rows: put before documents that are texts of a class and not its name"
    )
    template: str = Field(default=TEMPLATE, description="labelled rows: how an instruction that they bring is written")
    leave_out_labeled: bool = Field(
        default=False, description="labelled rows: leave out classification and clustering, rows whose label others share"
    )
    tasks: tuple[TaskConfig, ...] = Field(default=(), description="labelled rows of several tasks, in place of source")
    batches: Batching = Field(
        default="blended", description="labelled rows: blended, every task in one batch; homogeneous, each batch of one task"
    )
    unit: Unit | None = Field(
        default=None,
        description="what is one text in a .txt file: auto (its articles, else the whole file), or line; null: auto for objectives that "
        "learn from documents (causal_lm, llara), line for others",
    )
    mine: MineConfig | None = Field(
        default=None, description="labelled rows: hard negatives by BM25 for rows that bring none; null: they stay without"
    )

    @model_validator(mode="after")
    def _either_way(self) -> DataConfig:
        if not self.source and not self.tasks:
            raise ValueError("source: name at least one source of text: a file, a folder, a hub dataset or python-stdlib")
        if self.source and self.tasks:
            raise ValueError("tasks: name the sources there or under source, not in both places")
        if self.tasks:
            key = self._set_keys("limit", *LABELLED_KEYS)
            if key is not None:
                raise ValueError(f"{key}: belongs to each of the tasks, data.tasks.NAME.{key}")
        names = [task.name for task in self.tasks]
        wrong = next((name for name in names if not name or names.count(name) > 1), None)
        if wrong is not None:
            raise ValueError(f"tasks: two are named {wrong!r}" if wrong else "tasks: one has no name; names address tasks")
        if not all(task.source for task in self.tasks):
            raise ValueError("tasks: one has no source; name its file or folder")
        return self

    @property
    def all_sources(self) -> tuple[str, ...]:
        """Every source, of the tasks too."""
        return self.source + tuple(source for task in self.tasks for source in task.source)

    def all_tasks(self) -> tuple[TaskConfig, ...]:
        """Labelled data task by task; sources without tasks are one without a name."""
        if self.tasks:
            return self.tasks
        own = {name: getattr(self, name) for name in ("source", "limit", *LABELLED_KEYS)}
        return (TaskConfig(name="", **own),)

    def misplaced(self, wants: str) -> str | None:
        """The first key that says nothing about data of this kind; None if all do."""
        if wants == "examples":
            return self._set_keys("column", "unit", "rows")
        return self._set_keys("batches", "tasks", "mine", "leave_out_labeled", *LABELLED_KEYS)

    def _set_keys(self, *names: str) -> str | None:
        """The first of the keys that has another value than its default."""
        fields = type(self).model_fields
        return next((name for name in names if getattr(self, name) != fields[name].default), None)
