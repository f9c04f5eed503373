"""What a stage starts from: its encoder, the language-model head and the adapter.

It stands apart because training and the dry run begin alike and end differently. A stage that trains a language model starts from a
causal one and leaves a folder that is a base LLM again (`language_model.py`), so the stage after it converts that folder as the first
stage converts the recipe's base.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bothways.backbone.adapter.adapter_files import MERGED
from bothways.backbone.adapter.lora import attach
from bothways.backbone.adapter.merging import adapter_rope, merge_saved
from bothways.backbone.adapter.new_tokens import add_tokens, train_rows
from bothways.backbone.loading.sources import load_pretrained
from bothways.backbone.rope import RopeConfig, rope_overrides, say_further, trained_positions
from bothways.backbone.tokenizer.preparation import append_eos, prepend_bos
from bothways.encoder.convert import convert, load
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.adapter_settings import read_settings
from bothways.encoder.tokenization import Wrapper
from bothways.errors import InputError
from bothways.objectives.base import Objective
from bothways.pooling import PoolingConfig
from bothways.training.loop.precision import Precision, autocast
from bothways.training.loop.randomness import derive
from bothways.training.recipe.recipe import Recipe, Stage
from bothways.training.stage.heldout import HeldOut
from bothways.training.stage.language_model import history
from bothways.training.stage.stage_data import read_data

log = logging.getLogger("bothways")

#: Objectives that train the head beside every weight of an encoder, which has no place for it when it is saved.
HEADED = ("mntp", "llara")


def open_heldout(stage: Stage, encoder: Encoder, objective: Objective, held_out: Sequence[Any], *, seed: int) -> HeldOut | None:
    """Reader of the loss on held-out data, if the stage wants one; `held_out` are those of its own texts that it holds out."""
    config = stage.heldout
    if config is None:
        return None
    rows = held_out if config.data is None else read_data(config.data, stage.objective.wants).items
    if not rows:
        return None
    return HeldOut(objective, encoder, rows, size=stage.batch.size, limit=config.limit, seed=seed)


def open_base(recipe: Recipe, *, device: torch.device, dtype: torch.dtype, stage: Stage | None = None) -> Encoder:
    """The encoder that the first stage starts from.

    Args:
        recipe: its base, adapter, direction, positions, pooling and length.
        device: where to put it.
        dtype: of the weights; a saved adapter is merged in float32 first.
        stage: what is to run on it; the first stage, unless a dry run measures another.

    Raises:
        InputError: an encoder folder for what needs a base LLM.
    """
    stage = stage or recipe.stages[0]
    first = torch.float32 if recipe.base_adapter is not None else dtype
    rope = positions(recipe)
    trained = adapter_rope(recipe.base_adapter)
    if rope is not None and trained is not None and rope.context > trained.context:
        say_further(recipe.base_adapter, trained, rope)
    if is_encoder_folder(recipe.base):
        if stage.objective.language_model or rope is not None:
            what = (
                f"stages.{stage.name}: trains a language model"
                if stage.objective.language_model
                else "rope: sets a base's positions"
            )
            raise InputError(f"{what}, and {recipe.base} is a finished encoder; start from the base LLM")
        encoder = load(recipe.base, device=device, dtype=first)
        _check_fits(encoder, recipe)
        _fit_pooling(encoder, recipe)
        encoder.options.prompts = {**encoder.options.prompts, **recipe.prompts}
        encoder.options.default_prompt = recipe.default_prompt or encoder.options.default_prompt
        encoder.options.wrapper = _wrapper(recipe, encoder.options.wrapper)
        if not recipe.pool_bos:
            encoder.options.pool_bos = False
        if recipe.add_bos:
            prepend_bos(encoder.tokenizer)
        if recipe.add_eos:
            append_eos(encoder.tokenizer)
        _add_tokens(encoder, recipe)
    else:
        encoder = open_llm(recipe, recipe.base, stage.objective.language_model, device=device, dtype=first, rope=rope)
    if recipe.base_adapter is not None:
        encoder.provenance[MERGED] = merge_saved(encoder.backbone, recipe.base_adapter, encoder.provenance.get(MERGED, []))
        encoder.backbone.to(dtype)
        encoder.provenance["base_adapter"] = recipe.base_adapter
    return encoder


def positions(recipe: Recipe) -> RopeConfig | None:
    """The positions that the recipe's base is given: its own wish, or those that its adapter was trained with.

    Raises:
        InputError: a wish that does not fit the adapter.
    """
    own = adapter_rope(recipe.base_adapter)
    return own if recipe.rope is None else trained_positions(recipe.rope, own, recipe.base_adapter)


def open_llm(
    recipe: Recipe,
    base: str,
    language_model: bool,
    *,
    device: torch.device,
    dtype: str | torch.dtype,
    rope: RopeConfig | None = None,
) -> Encoder:
    """A base LLM as the encoder that the recipe wants, or as the causal one that a language model is trained as.

    Args:
        recipe: its direction, pooling, prompts and length.
        base: hub id, folder, .gguf file or embedded name; the folder of a language model that was trained here keeps its history.
        language_model: causal, whatever the recipe's direction, and without what belongs to vectors.
        device: where to put it.
        dtype: of the weights.
        rope: a longer context for it.
    """
    own: dict[str, Any] = {"direction": "causal"}
    if not language_model:
        own = {
            "direction": recipe.direction,
            "pooling": recipe.pooling,
            "pool_bos": recipe.pool_bos,
            "add_bos": bool(recipe.add_bos),
            "add_eos": bool(recipe.add_eos),
            "wrapper": astuple(_wrapper(recipe, Wrapper())),
            "prompts": recipe.prompts,
            "default_prompt": recipe.default_prompt,
            "seed": derive(recipe.seed, "pooling"),
        }
    encoder = convert(base, max_length=recipe.max_length, device=device, dtype=dtype, rope=rope, **own)
    encoder.provenance.update(history(base))
    if not language_model:
        _add_tokens(encoder, recipe)
    return encoder


def _wrapper(recipe: Recipe, own: Wrapper) -> Wrapper:
    """What stands around texts: the recipe's wrapper and joint, and `own` for what it leaves open."""
    wrapper = own if recipe.wrapper is None else Wrapper(*recipe.wrapper)
    return wrapper if recipe.joint is None else replace(wrapper, joint=recipe.joint)


def _add_tokens(encoder: Encoder, recipe: Recipe) -> None:
    if recipe.new_tokens:
        add_tokens(encoder.backbone, encoder.tokenizer, recipe.new_tokens, seed=derive(recipe.seed, "new tokens"))


def train_new_tokens(encoder: Encoder, recipe: Recipe, stage: Stage) -> None:
    """Let the rows of the recipe's new tokens train beside an attached adapter, where the stage's objective wants it."""
    if recipe.new_tokens and stage.adapter is not None and stage.objective.trains_new_tokens:
        ids: Any = encoder.tokenizer.convert_tokens_to_ids(list(recipe.new_tokens))
        train_rows(encoder.backbone, ids)


def _check_fits(encoder: Encoder, recipe: Recipe) -> None:
    """Refuse a finished encoder that is not what the recipe says, rather than train something else under its name.

    Raises:
        InputError: another direction; another pooling without parameters; new tokens that it lacks, and that nothing trains.
    """
    if encoder.direction != recipe.direction:
        raise InputError(
            f"direction: {recipe.base} is a {encoder.direction} encoder and the recipe {recipe.name} is {recipe.direction}; "
            f"set direction={encoder.direction}, or start from the base LLM"
        )
    wanted = PoolingConfig.of(recipe.pooling)
    if not wanted.trained and not wanted.fits(encoder.pooling, encoder.hidden_size):
        own: Any = encoder.pooling
        found = getattr(own, "settings", None) or {
            "mode": own.mode,
            **({"tokens": own.tokens} if own.mode == "last_tokens" else {}),
        }
        raise InputError(
            f"pooling: {recipe.base} has {own.mode} pooling and the recipe {recipe.name} {wanted.mode}, which its prompts are made for; if "
            f"they fit both, set pooling={found}"
        )
    vocabulary = encoder.tokenizer.get_vocab()
    missing = [token for token in recipe.new_tokens or () if token not in vocabulary]
    if missing and not any(stage.objective.trains_new_tokens for stage in recipe.stages):
        raise InputError(
            f"new_tokens: {recipe.base} has no {missing[0]}, and no stage of the recipe {recipe.name} trains it; start with a stage that "
            "does, or with the options that the encoder was made with"
        )


def _fit_pooling(encoder: Encoder, recipe: Recipe) -> None:
    """Give a finished encoder the trained pooling that the recipe wants, unless it has it already.

    Raises:
        InputError: the encoder has a trained pooling of another kind or size, whose weights would be lost.
    """
    wanted = PoolingConfig.of(recipe.pooling)
    if not wanted.trained or wanted.fits(encoder.pooling, encoder.hidden_size):
        return
    if any(True for _ in encoder.pooling.parameters()):
        raise InputError(
            f"pooling: {recipe.base} has a trained pooling of its own ({encoder.pooling.extra_repr()}), the recipe wants "
            f"{wanted}; leave the recipe's pooling out, or give it these sizes"
        )
    encoder.pooling = wanted.build(encoder.hidden_size, seed=derive(recipe.seed, "pooling")).to(encoder.device)


def open_stage(recipe: Recipe, index: int, out: Path, *, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder that stage `index` starts from: the base, or what the stage before saved."""
    if index == 0:
        return open_base(recipe, device=device, dtype=dtype)
    before = stage_output(recipe, index - 1, out)
    if recipe.stages[index - 1].objective.language_model:
        return open_llm(recipe, str(before), recipe.stages[index].objective.language_model, device=device, dtype=dtype)
    return load(before, device=device, dtype=dtype)


def stage_output(recipe: Recipe, index: int, out: Path) -> Path:
    """Folder of what stage `index` saves: `out` itself for the last, else stages/1-name, or adapters/1-name if that is all it keeps."""
    if index == len(recipe.stages) - 1:
        return out
    return (
        kept_folder(recipe, index, out)
        if recipe.stages[index].keep == "adapter"
        else out / "stages" / recipe.stage_folder(index)
    )


def kept_folder(recipe: Recipe, index: int, out: Path) -> Path:
    """Folder of the adapter that stage `index` keeps."""
    return out / "adapters" / recipe.stage_folder(index)


def is_encoder_folder(base: str) -> bool:
    """Whether `base` holds a finished encoder, whole or as an adapter with its settings, rather than a base LLM."""
    folder = Path(base).expanduser()
    whole = any((folder / file).is_file() for file in ("modules.json", "llm2vec_config.json"))
    return whole or ((folder / "adapter_config.json").is_file() and read_settings(folder) is not None)


def open_head(recipe: Recipe, index: int, encoder: Encoder, dtype: torch.dtype) -> nn.Module | None:
    """The base model's language-model head, for objectives that want it.

    An encoder folder has none; its provenance names the base it was made from.

    Args:
        recipe: with `index`, the stage; the first stage's head belongs to a config with the recipe's positions.
        index: number of the stage.
        encoder: opened for it.
        dtype: of the head's weights.

    Raises:
        InputError: there is no base with a head.
    """
    stage = recipe.stages[index]
    if not stage.objective.needs_head:
        return None
    base = str(encoder.provenance.get("base", recipe.base))
    if is_encoder_folder(base):
        raise InputError(
            f"stages.{stage.name}: {stage.objective.kind} needs a language-model head, and {recipe.base} is an encoder without one; "
            "start from the base LLM"
        )
    rope = positions(recipe) if base == recipe.base else None
    overrides = rope_overrides(base, rope) if rope is not None else None
    head: Any = load_pretrained(base, dtype=dtype, device=encoder.device, head=True, config_overrides=overrides).head
    if head is None:
        return None
    if stage.objective.language_model:
        head.make_room(encoder.backbone)
    # the base's own embeddings would not fit states of a decoder whose embeddings a stage or an adapter has trained
    head.take(encoder.backbone)
    if not head.tied and lost_head(encoder, base):
        log.warning(
            "stages.%s: an earlier stage trained every weight and a head of its own, which encoders do not keep; the head of %s is used",
            stage.name,
            base,
        )
    return head


def lost_head(encoder: Encoder, base: str) -> bool:
    """Whether a head was trained that is not `base`'s: a stage over encoders trained every weight, by the encoder's provenance."""
    stages: Any = encoder.provenance.get("stages", ())
    since = stages[len(history(base).get("stages", ())) :]
    return any(stage.get("adapter") is None and stage["objective"]["kind"] in HEADED for stage in since)


def make_trainable(encoder: Encoder, stage: Stage, *, seed: int, index: int) -> None:
    """Attach the stage's adapter, or let every weight train; a pooling with parameters trains whole; switch gradient checkpointing."""
    backbone: Any = encoder.backbone
    encoder.requires_grad_(False)
    if stage.adapter is not None:
        attach(backbone, stage.adapter, seed=derive(seed, "adapter", index))
    else:
        encoder.requires_grad_(True)
    encoder.pooling.requires_grad_(stage.objective.pools)
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
    objective.hand_over(encoder)
    return objective


@contextmanager
def ready(
    recipe: Recipe,
    index: int,
    encoder: Encoder,
    chosen: Precision,
    place: Callable[[Encoder], None] | None = None,
) -> Iterator[Objective]:
    """Make an opened encoder trainable and give the stage's objective; inside the block both run in the stage's precision.

    Afterwards the encoder is without autocast and with the dropout rates it had; what was trained stays in it.

    Args:
        recipe: with `index`, the stage.
        index: its number.
        encoder: opened for it.
        chosen: its precision.
        place: brings the trainable encoder to the devices it is trained on, where it was opened elsewhere.
    """
    stage = recipe.stages[index]
    head = open_head(recipe, index, encoder, chosen.weights)
    make_trainable(encoder, stage, seed=recipe.seed, index=index)
    train_new_tokens(encoder, recipe, stage)
    if place is not None:
        place(encoder)
    objective = build_objective(stage, encoder, head, seed=recipe.seed, index=index)
    try:
        with ExitStack() as stack:
            for module in (encoder.backbone, getattr(objective, "head", None)):
                if module is not None:
                    stack.enter_context(autocast(module, chosen))
            yield objective
    finally:
        objective.release()
