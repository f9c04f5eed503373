"""The place of a stage in its run: which stage of which recipe, and the folders that it owns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bothways.backbone.adapter.merging import find_adapter
from bothways.backbone.loading.model_source import Source, locate
from bothways.training.loop.randomness import derive
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.stage_config import Stage


@dataclass(frozen=True)
class StageContext:
    """One stage of a run.

    Attributes:
        recipe: the whole run.
        index: number of the stage, from 0.
        out: output folder of the run. If None, the stage is only measured (a dry run), and has no
            folders.
    """

    recipe: Recipe
    index: int
    out: Path | None = None

    @classmethod
    def all_of(cls, recipe: Recipe, out: Path | None = None) -> list[StageContext]:
        """List the stages of a recipe, in order."""
        return [cls(recipe, index, out) for index in range(len(recipe.stages))]

    @property
    def stage(self) -> Stage:
        """The stage's config."""
        return self.recipe.stages[self.index]

    @property
    def name(self) -> str:
        """The stage's name in the recipe, for example mntp."""
        return self.stage.name

    @property
    def final(self) -> bool:
        """True for the last stage, which saves into the run's own folder."""
        return self.index == len(self.recipe.stages) - 1

    @property
    def before(self) -> StageContext | None:
        """The stage before this one, or None for the first."""
        return StageContext(self.recipe, self.index - 1, self.out) if self.index > 0 else None

    @cached_property
    def base(self) -> Source:
        """The recipe's base: a base LLM or a finished encoder.

        Raises:
            SourceError: if there is no such model.
        """
        return locate(self.recipe.base)

    @cached_property
    def base_adapter(self) -> Source | None:
        """The recipe's adapter of the base, on this machine, or None if it has none.

        Raises:
            InputError: if there is no adapter.
            SourceError: if there is no such folder, or the hub cannot be reached.
        """
        named = self.recipe.base_adapter
        return None if named is None else find_adapter(named)

    @property
    def output(self) -> Path:
        """Folder of the stage's product.

        This is the run's own folder for the last stage, else for example stages/1-mntp. If the
        stage keeps its adapter alone, it is adapters/1-mntp.
        """
        if self.final:
            return self.run_folder
        return self.adapter_folder if self.stage.keep == "adapter" else self._folder("stages")

    @property
    def adapter_folder(self) -> Path:
        """Folder of the adapter that the stage keeps, for example adapters/1-mntp."""
        return self._folder("adapters")

    @property
    def checkpoint_folder(self) -> Path:
        """Folder of the stage's checkpoints, for example checkpoints/1-mntp."""
        return self._folder("checkpoints")

    @property
    def run_folder(self) -> Path:
        """Output folder of the run.

        Raises:
            RuntimeError: in a dry run.
        """
        if self.out is None:
            raise RuntimeError(f"stages.{self.name}: a dry run has no folders")
        return self.out

    def seed(self, name: str, *place: int | str) -> int:
        """Derive the seed of something random in this stage, for example `seed("adapter")`.

        `place` tells several draws under one name apart, for example the number of a step.
        """
        return derive(self.recipe.seed, name, self.index, *place)

    def _folder(self, kind: str) -> Path:
        return self.run_folder / kind / self.recipe.stage_folder(self.index)
