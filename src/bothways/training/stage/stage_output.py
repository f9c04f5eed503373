"""What a stage leaves behind: the adapter merged and the merge proved, provenance, an encoder on disk.

It stands apart because precision matters here most: an adapter is merged in float32 into the weights as they were stored, not into
the bfloat16 copy that training ran on, whose rounding is as large as many updates.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bothways.atomic import move_in
from bothways.attention.positions import usable_positions
from bothways.backbone.adapter.lora import adapter_state, attach, load_adapter_state, merge
from bothways.backbone.head import Head
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.card import keep_edited
from bothways.training.loop.checkpoints import StageState
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.kept_adapters import is_kept, publish_kept, save_kept, withdraw_kept
from bothways.training.stage.language_model import write_language_model
from bothways.training.stage.stage_data import StageData
from bothways.training.stage.stage_setup import open_head, open_stage, stage_output, train_new_tokens

PROBE_TEXTS = 8
PROBE_TOKENS = 64
#: Files whose presence makes a folder an encoder; they arrive last. Without config.json a folder is nothing, while with it and
#: without the others it would be a base model, which is used with other settings.
MARKERS = ("bothways.json", "modules.json", "config.json")
#: The same for a language model, which has no modules.
LLM_MARKERS = ("bothways.json", "config.json")
#: The last stage's encoder, in the run's folder until it moves in.
PART = ".encoder.part"


def merge_stage(
    recipe: Recipe,
    index: int,
    encoder: Encoder,
    out: Path,
    texts: list[str],
    trained: dict[str, Tensor] | None = None,
) -> tuple[Encoder, float | None]:
    """The stage's encoder without adapter, in float32.

    Args:
        recipe: with `index`, the stage that has been trained.
        index: its number.
        encoder: as trained; used up.
        out: output folder of the run.
        texts: the first few are the probe on which adapter and merged weights are compared.
        trained: the backbone's trained parameters where the encoder is sharded (`sharding.trained_state`); the result lies on the CPU.

    Returns:
        The encoder, and the largest relative difference of its hidden states from the adapter's; None without an adapter.

    Raises:
        RuntimeError: merged weights do not give the adapter's states.
    """
    stage = recipe.stages[index]
    encoder.eval()
    backbone: Any = encoder.backbone
    if stage.gradient_checkpointing:
        (getattr(backbone, "activation_checkpointing_disable", None) or backbone.gradient_checkpointing_disable)()
    rounded = stage.adapter is not None and any(each.dtype != torch.float32 for each in encoder.backbone.parameters())
    if rounded or trained is not None:
        device = encoder.device if trained is None else torch.device("cpu")
        state = adapter_state(encoder.backbone) if trained is None else trained
        pooling = encoder.pooling  # float32 already, and trained
        del encoder, backbone
        encoder = open_stage(recipe, index, out, device=device, dtype=torch.float32)
        if stage.adapter is not None:
            attach(encoder.backbone, stage.adapter)
        else:
            encoder.requires_grad_(True)
        train_new_tokens(encoder, recipe, stage)
        load_adapter_state(encoder.backbone, state)
        encoder.pooling = pooling.to(device)
        encoder.eval()
    save_kept(encoder, recipe, index, out)
    if stage.adapter is None:
        return encoder, None
    # under the default prompt, so that new tokens in it are proved too
    prompt = encoder.prompt() or ""
    room = len(encoder.tokenize([(prompt, "")])[0].ids)
    rows = encoder.tokenize(texts[:PROBE_TEXTS], prompt=prompt, max_length=PROBE_TOKENS + room)
    probe = encoder.pack(rows).to(encoder.device)

    def states() -> Tensor:
        return encoder.states(probe)

    difference = merge(encoder.backbone, verify=states)
    encoder.requires_grad_(False)
    return encoder, difference


def record(
    encoder: Encoder, recipe: Recipe, index: int, data: StageData, state: StageState, trainable: int, difference: float | None
) -> None:
    """Add the stage to the encoder's provenance."""
    stage = recipe.stages[index]
    entry = {
        "name": stage.name,
        "objective": stage.objective.model_dump(mode="json"),
        "adapter": None if stage.adapter is None else stage.adapter.model_dump(mode="json"),
        "data": data.origin,
        "seed": recipe.seed,
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": round(state.seconds, 1),
        "trainable": trainable,
        "loss": {"first": state.losses[0], "last": state.losses[-1]},
        "best": state.best,
        "merge_difference": difference,
        "recipe": recipe.fingerprint(),
    }
    encoder.provenance["stages"] = [*encoder.provenance.get("stages", []), entry]


def save_stage(encoder: Encoder, folder: Path, recipe: Recipe, index: int) -> None:
    """Write the encoder: a stage's folder appears as a whole, the last stage's files move into the run's own folder.

    A stage that keeps its adapter alone has written that already, and the last one's is put into the run's folder. Checkpoints and
    metrics lie there, so the folder cannot be swapped; the files that make it an encoder come last.
    """
    final = index == len(recipe.stages) - 1
    if recipe.stages[index].keep == "adapter":
        if final:
            publish_kept(recipe, folder)
        return
    if not final:
        encoder.save(folder, dtype=recipe.save_dtype, replace=True)
        return
    withdraw_kept(folder)
    part = _fresh(folder)
    encoder.save(part, dtype=recipe.save_dtype)
    keep_edited(folder, part)
    move_in(part, folder, MARKERS)


def save_trained_llm(encoder: Encoder, trained: Head, recipe: Recipe, index: int, out: Path) -> None:
    """Write the language model that a stage has trained, as `save_stage` writes an encoder.

    Args:
        encoder: merged, float32; used up.
        trained: the head that the objective trained, or trained with.
        recipe: with `index`, the stage.
        index: its number.
        out: output folder of the run.
    """
    # in float32 and as stored, like the weights that the adapter was merged into
    head = open_head(recipe, index, encoder, torch.float32)
    assert isinstance(head, Head)
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad and not trained.tied:
                head.get_parameter(name).copy_(parameter)
    folder = stage_output(recipe, index, out)
    context = max(recipe.stages[index].objective.context, usable_positions(encoder.backbone) or 0)  # type: ignore[union-attr]
    if index < len(recipe.stages) - 1:
        write_language_model(encoder, head, folder, context=context, dtype=recipe.save_dtype)
        return
    part = _fresh(folder)
    write_language_model(encoder, head, part, context=context, dtype=recipe.save_dtype)
    move_in(part, folder, LLM_MARKERS)


def remove_part(folder: Path) -> None:
    """Remove the encoder that a killed run had begun to move into the run's folder."""
    shutil.rmtree(folder / PART, ignore_errors=True)


def _fresh(folder: Path) -> Path:
    remove_part(folder)
    return folder / PART


def is_finished(folder: Path, *, language_model: bool = False) -> bool:
    """Whether `save_stage`, or for a language model `save_trained_llm`, has completed there, whatever the stage was to keep."""
    return is_kept(folder) or all((folder / name).is_file() for name in (LLM_MARKERS if language_model else MARKERS))
