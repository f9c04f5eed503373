"""What a stage produces: an encoder, or a language model.

A product knows how the start of its stage is opened, how the result is saved and recognized, and
how the next stage goes on from it. The rest of training does not ask which of the two it is.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch

from bothways.atomic import move_in
from bothways.attention.positions import usable_positions
from bothways.backbone.head import Head
from bothways.backbone.rope import RopeConfig
from bothways.encoder.convert import convert
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.card import keep_edited
from bothways.encoder.load import load
from bothways.errors import InputError
from bothways.folder_files import MODULES, OURS
from bothways.objectives.objective import CAUSAL_LM, TEXT_ENCODER, ModelKind, Objective
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.stage_config import Stage
from bothways.training.stage.base_head import open_head
from bothways.training.stage.encoder_options import add_new_tokens, convert_options
from bothways.training.stage.kept_adapters import (
    describe_kept,
    is_kept,
    publish_kept,
    withdraw_kept,
)
from bothways.training.stage.language_model import history, write_language_model
from bothways.training.stage.stage_context import StageContext

PART = ".encoder.part"
"""The final product, in the run's folder, until its files are moved in."""


class Product(ABC):
    """The kind of model that a stage trains."""

    kind: ClassVar[ModelKind]
    """What objectives call this kind of model."""
    markers: ClassVar[tuple[str, ...]]
    """Files that make a folder a finished product. They are moved in last, in this order.

    Without config.json a folder is nothing. With it, and without the others, it would be a base
    model, which is used with other settings."""
    causal: ClassVar[bool]
    """True if kept adapters name their layers as in the causal LM, False for the bare decoder."""

    @abstractmethod
    def check_base(self, context: StageContext) -> None:
        """Refuse a recipe's base that is a finished encoder, if the stage cannot start from it.

        Raises:
            InputError: see above.
        """

    @abstractmethod
    def convert(
        self,
        base: str | os.PathLike[str],
        recipe: Recipe,
        *,
        device: torch.device,
        dtype: str | torch.dtype,
        rope: RopeConfig | None = None,
    ) -> Encoder:
        """Open a base LLM as the model that the stage trains.

        Args:
            base: hub id, folder, .gguf file or embedded name. A language model that was trained
                here keeps its history.
            recipe: its choices of direction, pooling, prompts and length.
            device: device of the model.
            dtype: type of the weights.
            rope: positions for a longer context. If None, the base's own.
        """

    @abstractmethod
    def open(
        self,
        folder: Path,
        recipe: Recipe,
        *,
        following: Product,
        device: torch.device,
        dtype: str | torch.dtype,
    ) -> Encoder:
        """Open a saved product of this kind as the start of a stage that trains `following`."""

    @abstractmethod
    def open_head(self, context: StageContext, encoder: Encoder, dtype: torch.dtype) -> Head | None:
        """Open the head that the stage's objective needs; see `base_head.open_head`."""

    @abstractmethod
    def trained_head(self, objective: Objective[Any]) -> Head | None:
        """Return the head that is saved with the product, or None if the product has none."""

    @abstractmethod
    def describe_adapter(self, encoder: Encoder, context: StageContext) -> None:
        """Write next to the kept adapter of the stage the settings that make a product of it.

        The stage must be in the encoder's provenance already.
        """

    @abstractmethod
    def save(self, encoder: Encoder, head: Head | None, context: StageContext) -> None:
        """Write the product of a stage into `context.output`.

        The folder of an inner stage appears as a whole. The final product's files are moved into
        the run's own folder, which also holds checkpoints and metrics. Those that make it a
        finished product come last.

        Args:
            encoder: merged, float32. It must not be used afterwards.
            head: from `trained_head`.
            context: the stage.
        """

    @abstractmethod
    def watched(self, texts: list[str]) -> list[str]:
        """Return the texts that the collapse watch samples from the training texts."""

    def finished(self, folder: Path) -> bool:
        """Tell if `save` has completed in a folder."""
        return all((folder / name).is_file() for name in self.markers)


class EncoderProduct(Product):
    """A text encoder."""

    kind = TEXT_ENCODER
    markers = (OURS, MODULES, "config.json")
    # LLM2Vec's adapters are named in the bare decoder.
    causal = False

    def check_base(self, context: StageContext) -> None:
        """Accept a finished encoder: training goes on from it."""

    def convert(
        self,
        base: str | os.PathLike[str],
        recipe: Recipe,
        *,
        device: torch.device,
        dtype: str | torch.dtype,
        rope: RopeConfig | None = None,
    ) -> Encoder:
        """Convert a base LLM to the recipe's encoder."""
        encoder = convert(
            base,
            max_length=recipe.max_length,
            device=device,
            dtype=dtype,
            rope=rope,
            **convert_options(recipe),
        )
        encoder.provenance.update(history(base))
        add_new_tokens(encoder, recipe)
        return encoder

    def open(
        self,
        folder: Path,
        recipe: Recipe,
        *,
        following: Product,
        device: torch.device,
        dtype: str | torch.dtype,
    ) -> Encoder:
        """Load the encoder."""
        return load(folder, device=device, dtype=dtype)

    def open_head(self, context: StageContext, encoder: Encoder, dtype: torch.dtype) -> Head | None:
        """Open the head as the base has it."""
        return open_head(context, encoder, dtype)

    def trained_head(self, objective: Objective[Any]) -> Head | None:
        """Return None, because an encoder is saved without a head."""
        return None

    def describe_adapter(self, encoder: Encoder, context: StageContext) -> None:
        """Write the encoder's settings next to the adapter."""
        describe_kept(encoder, context)

    def save(self, encoder: Encoder, head: Head | None, context: StageContext) -> None:
        """Save the encoder.

        If the stage keeps its adapter alone, that is on disk already. The last stage's is linked
        into the run's folder.
        """
        folder, dtype = context.output, context.recipe.save_dtype
        if context.stage.keep == "adapter":
            if context.final:
                publish_kept(context)
            return
        if not context.final:
            encoder.save(folder, dtype=dtype, replace=True)
            return
        withdraw_kept(folder)
        part = _fresh(folder)
        encoder.save(part, dtype=dtype)
        keep_edited(folder, part)
        move_in(part, folder, self.markers)

    def watched(self, texts: list[str]) -> list[str]:
        """Return all texts."""
        return texts

    def finished(self, folder: Path) -> bool:
        """Tell if the folder holds a whole encoder, or an adapter with an encoder's settings."""
        return is_kept(folder) or super().finished(folder)


class LanguageModelProduct(Product):
    """A causal language model, which the next stage converts as it would convert any base LLM."""

    kind = CAUSAL_LM
    markers = (OURS, "config.json")
    causal = True

    def check_base(self, context: StageContext) -> None:
        """Refuse a finished encoder, which has no head to train."""
        raise InputError(
            f"stages.{context.name}: trains a language model, and {context.recipe.base} is a finished encoder; "
            "start from the base LLM"
        )

    def convert(
        self,
        base: str | os.PathLike[str],
        recipe: Recipe,
        *,
        device: torch.device,
        dtype: str | torch.dtype,
        rope: RopeConfig | None = None,
    ) -> Encoder:
        """Open a base LLM as a causal model, without the recipe's pooling, prompts and tokens."""
        encoder = convert(
            base,
            direction="causal",
            max_length=recipe.max_length,
            device=device,
            dtype=dtype,
            rope=rope,
        )
        encoder.provenance.update(history(base))
        return encoder

    def open(
        self,
        folder: Path,
        recipe: Recipe,
        *,
        following: Product,
        device: torch.device,
        dtype: str | torch.dtype,
    ) -> Encoder:
        """Open the language model as the base of the next stage."""
        return following.convert(str(folder), recipe, device=device, dtype=dtype)

    def open_head(self, context: StageContext, encoder: Encoder, dtype: torch.dtype) -> Head | None:
        """Open the head with output rows for every token of the decoder."""
        return open_head(context, encoder, dtype, grow=True)

    def trained_head(self, objective: Objective[Any]) -> Head | None:
        """Return the head that the objective trained, or trained with."""
        return getattr(objective, "head", None)

    def describe_adapter(self, encoder: Encoder, context: StageContext) -> None:
        """Write nothing: the adapter of a language model has no encoder's settings."""

    def save(self, encoder: Encoder, head: Head | None, context: StageContext) -> None:
        """Save decoder and head together, as a plain transformers folder."""
        # In float32 and as stored, like the weights that the adapter was merged into.
        whole = self.open_head(context, encoder, torch.float32)
        assert isinstance(whole, Head) and head is not None
        with torch.no_grad():
            for name, parameter in head.named_parameters():
                if parameter.requires_grad and not head.tied:
                    whole.get_parameter(name).copy_(parameter)
        folder, dtype = context.output, context.recipe.save_dtype
        trained: int = context.stage.objective.context  # type: ignore[union-attr]
        length = max(trained, usable_positions(encoder.backbone) or 0)
        if not context.final:
            write_language_model(encoder, whole, folder, context=length, dtype=dtype)
            return
        part = _fresh(folder)
        write_language_model(encoder, whole, part, context=length, dtype=dtype)
        move_in(part, folder, self.markers)

    def watched(self, texts: list[str]) -> list[str]:
        """Return no texts, because a language model has no vectors to watch."""
        return []


ENCODER, LANGUAGE_MODEL = EncoderProduct(), LanguageModelProduct()
PRODUCTS: dict[ModelKind, Product] = {each.kind: each for each in (ENCODER, LANGUAGE_MODEL)}
"""The product of each kind of model. A new kind is one more entry."""


def product_of(stage: Stage) -> Product:
    """Return the product of a stage, which its objective determines."""
    return PRODUCTS[stage.objective.trains]


def remove_part(folder: Path) -> None:
    """Remove the product that a killed run had begun to move into the run's folder."""
    shutil.rmtree(folder / PART, ignore_errors=True)


def _fresh(folder: Path) -> Path:
    remove_part(folder)
    return folder / PART
