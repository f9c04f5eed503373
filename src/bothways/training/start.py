"""What a stage starts from: its texts, its encoder, the language-model head and the adapter.

It stands apart because training and the dry run begin alike and end differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bothways.backbone.adapters import attach, merge_saved
from bothways.backbone.sources import load_pretrained
from bothways.data.fingerprint import describe, fingerprint_texts
from bothways.data.readers import read_texts
from bothways.encoder.build import convert, load
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.objectives.base import Objective
from bothways.training.heldout import HeldOut
from bothways.training.precision import Precision, autocast
from bothways.training.randomness import derive
from bothways.training.run import DataConfig, Recipe, Stage

#: Texts in memory for every stage, or by stage name, in place of the recipe's sources.
GivenTexts = Sequence[str] | Mapping[str, Sequence[str]] | None


@dataclass(frozen=True)
class StageTexts:
    """Training texts, and where they came from for provenance."""

    texts: list[str]
    origin: list[dict[str, Any]]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of them in order."""
        return fingerprint_texts(self.texts)


def read_stage_texts(stage: Stage, given: GivenTexts = None) -> StageTexts:
    """The texts of a stage: each source in order, `limit` of each; or those given in memory.

    Raises:
        InputError: a source that cannot be read; no texts given for this stage.
        SourceError: a source that cannot be found.
    """
    if given is not None:
        if isinstance(given, Mapping):
            if stage.name not in given:
                raise InputError(f"texts: none for stage {stage.name!r} (there are {', '.join(map(repr, given)) or 'none'})")
            given = given[stage.name]
        if isinstance(given, str):
            raise InputError(
                "texts: expected a list of texts, got one string; a file or folder goes into the recipe's data.source"
            )
        own = list(given)
        wrong = next((index for index, text in enumerate(own) if not isinstance(text, str)), None)
        if wrong is not None:
            raise InputError(f"texts[{wrong}]: must be a string (got {type(own[wrong]).__name__})")
        return StageTexts(own, [{"source": "memory", "texts": len(own), "sha256": fingerprint_texts(own)}])
    return read_data(stage.data)


def read_data(data: DataConfig) -> StageTexts:
    """The texts of each source in order, `limit` of each."""
    texts: list[str] = []
    origin = []
    for source in data.source:
        found = read_texts(source, column=data.column, limit=data.limit)
        origin.append(describe(source, texts=found))
        texts += found
    return StageTexts(texts, origin)


def open_heldout(stage: Stage, encoder: Encoder, objective: Objective, *, seed: int) -> HeldOut | None:
    """Reader of the loss on held-out texts, where the stage wants one."""
    config = stage.heldout
    if config is None:
        return None
    texts = read_data(config.data).texts
    return HeldOut(objective, encoder, texts, size=stage.batch.size, limit=config.limit, seed=seed)


def open_base(recipe: Recipe, *, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder that the first stage starts from.

    Args:
        recipe: its base, adapter, direction, pooling and length.
        device: where to put it.
        dtype: of the weights; a saved adapter is merged in float32 first.
    """
    first = torch.float32 if recipe.base_adapter is not None else dtype
    if is_encoder_folder(recipe.base):
        encoder = load(recipe.base, device=device, dtype=first)
    else:
        encoder = convert(
            recipe.base,
            direction=recipe.direction,
            pooling=recipe.pooling,
            max_length=recipe.max_length,
            pool_bos=recipe.pool_bos,
            device=device,
            dtype=first,
        )
    if recipe.base_adapter is not None:
        merge_saved(encoder.backbone, recipe.base_adapter)
        encoder.backbone.to(dtype)
        encoder.provenance["base_adapter"] = recipe.base_adapter
    return encoder


def open_stage(recipe: Recipe, index: int, out: Path, *, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder that stage `index` starts from: the base, or what the stage before saved."""
    if index == 0:
        return open_base(recipe, device=device, dtype=dtype)
    return load(stage_output(recipe, index - 1, out), device=device, dtype=dtype)


def stage_output(recipe: Recipe, index: int, out: Path) -> Path:
    """Folder of the encoder that stage `index` saves: stages/1-name, and `out` itself for the last."""
    return out if index == len(recipe.stages) - 1 else out / "stages" / recipe.stage_folder(index)


def is_encoder_folder(base: str) -> bool:
    """Whether `base` holds a finished encoder rather than a base LLM."""
    return any((Path(base).expanduser() / file).is_file() for file in ("modules.json", "llm2vec_config.json"))


def open_head(recipe: Recipe, stage: Stage, encoder: Encoder, precision: Precision) -> nn.Module | None:
    """The base model's language-model head, for objectives that want it.

    An encoder folder has none; its provenance names the base it was made from.

    Raises:
        InputError: there is no base with a head.
    """
    if not stage.objective.needs_head:
        return None
    base = str(encoder.provenance.get("base", recipe.base)) if is_encoder_folder(recipe.base) else recipe.base
    if is_encoder_folder(base):
        raise InputError(
            f"stages.{stage.name}: {stage.objective.kind} needs a language-model head, and {recipe.base} is an encoder without one; "
            "start from the base LLM"
        )
    return load_pretrained(base, dtype=precision.weights, device=encoder.device, head=True).head


def make_trainable(encoder: Encoder, stage: Stage, *, seed: int, index: int) -> None:
    """Attach the stage's adapter, or let every weight train; switch gradient checkpointing."""
    backbone: Any = encoder.backbone
    encoder.requires_grad_(False)
    if stage.adapter is not None:
        attach(backbone, stage.adapter, seed=derive(seed, "adapter", index))
    else:
        encoder.requires_grad_(True)
    if stage.gradient_checkpointing:
        # renamed in transformers 5.2x; non-reentrant, because the embeddings below an adapter need no gradient
        enable = getattr(backbone, "activation_checkpointing_enable", None) or backbone.gradient_checkpointing_enable
        try:
            enable({"use_reentrant": False})
        except ValueError as error:
            raise InputError(f"stages.{stage.name}.gradient_checkpointing: {error}") from error


def build_objective(stage: Stage, encoder: Encoder, head: nn.Module | None, *, seed: int, index: int) -> Objective:
    """The stage's objective on the encoder's device; what it trains is float32 and initialised from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "objective", index))
        objective = stage.objective.build(encoder, head)
    objective.to(encoder.device)
    for parameter in objective.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return objective


@contextmanager
def ready(recipe: Recipe, index: int, encoder: Encoder, chosen: Precision) -> Iterator[Objective]:
    """Make an opened encoder trainable and give the stage's objective; inside the block both run in the stage's precision.

    Afterwards the encoder is without autocast and with the dropout rates it had; what was trained stays in it.
    """
    stage = recipe.stages[index]
    head = open_head(recipe, stage, encoder, chosen)
    make_trainable(encoder, stage, seed=recipe.seed, index=index)
    objective = build_objective(stage, encoder, head, seed=recipe.seed, index=index)
    try:
        with ExitStack() as stack:
            for module in (encoder.backbone, getattr(objective, "head", None)):
                if module is not None:
                    stack.enter_context(autocast(module, chosen))
            yield objective
    finally:
        objective.release()
