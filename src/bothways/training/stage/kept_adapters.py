"""Adapters that stages leave: adapters/1-mntp in PEFT's format, and where each belongs.

Open it when something about `Stage.keep` is unclear. A stage that keeps its adapter names the base that it was trained over and, by
`base_adapter`, the adapters that were merged before it. So `peft_model_name_or_path: out/mntp`, `convert BASE --adapter out/mntp` and
`bothways.load("out/mntp/adapters/1-mntp")` all give what the stage has trained. Where a stage before it keeps no adapter, its merged
encoder is the base.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from bothways.backbone.adapter.adapter_files import FACTORS, MERGED, NEEDS, WHOLE, fingerprint, local_adapter, save_adapter
from bothways.backbone.rope import given_positions
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.adapter_settings import LLM2VEC, describe
from bothways.errors import InputError
from bothways.foreign import object_if_whole, read_object
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.stage_setup import is_encoder_folder, kept_folder, positions, stage_output

ADAPTER_CONFIG = "adapter_config.json"
#: Entry of `MERGED` for a stage whose change no adapter on disk holds.
UNKEPT = "not kept: "


class _Place(NamedTuple):
    """What an adapter is trained over: a base, and adapters that are merged into it first."""

    base: str
    base_adapter: str | None = None


def save_kept(encoder: Encoder, recipe: Recipe, index: int, out: Path) -> None:
    """Write the adapter that the encoder carries, if the stage keeps it, and note in the provenance what the encoder holds then."""
    stage = recipe.stages[index]
    held: Any = encoder.provenance.get(MERGED, [])
    if not stage.keeps_adapter:
        encoder.provenance[MERGED] = [*held, f"{UNKEPT}{stage.name}"]
        return
    assert stage.adapter is not None
    folder = kept_folder(recipe, index, out)
    place = _place(encoder, recipe, index, out)
    rope = positions(recipe) if index == 0 else None
    save_adapter(
        encoder.backbone,
        stage.adapter,
        folder,
        base=place.base,
        base_adapter=place.base_adapter,
        rope=None if rope is None else given_positions(recipe.base, rope),
        # LLM2Vec's adapters are named in the bare decoder
        causal=stage.objective.language_model,
    )
    encoder.provenance[MERGED] = [*held, str(fingerprint(folder))]


def describe_kept(encoder: Encoder, recipe: Recipe, index: int, out: Path) -> None:
    """Write beside the kept adapter of a stage what makes an encoder of it; needs the stage in the provenance."""
    stage = recipe.stages[index]
    if stage.keeps_adapter and not stage.objective.language_model:
        describe(encoder, kept_folder(recipe, index, out), pooling="eos_token" if recipe.pooling == "eos" else None)


def publish_kept(recipe: Recipe, out: Path) -> None:
    """Put the last stage's adapter, which is all that is kept of it, into the run's own folder; the markers arrive last."""
    folder = kept_folder(recipe, len(recipe.stages) - 1, out)
    marker = "bothways.json"
    for place in sorted(folder.iterdir(), key=lambda place: (place.name == marker, place.name)):
        target = out / place.name
        if place.is_dir():
            shutil.copytree(place, target, dirs_exist_ok=True)
        elif place.name == marker:
            part = out / f".{marker}.part"
            part.write_text(_moved(place, out), encoding="utf-8", errors="backslashreplace")
            os.replace(part, target)
        else:
            target.unlink(missing_ok=True)
            _link(place, target)


def withdraw_kept(out: Path) -> None:
    """Take back what a stopped `publish_kept` has put into the run's folder: loaders would merge it into the encoder beside it."""
    for name in (ADAPTER_CONFIG, *FACTORS, WHOLE, LLM2VEC):
        (out / name).unlink(missing_ok=True)


def is_kept(folder: Path) -> bool:
    """Whether `describe_kept` has completed there."""
    return (folder / ADAPTER_CONFIG).is_file() and "encoder" in object_if_whole(folder / NEEDS)


def _place(encoder: Encoder, recipe: Recipe, index: int, out: Path) -> _Place:
    if index > 0:
        before = recipe.stages[index - 1]
        if before.keeps_adapter and not before.objective.language_model:
            kept = kept_folder(recipe, index - 1, out)
            return _Place(_base_of(kept), f"../{kept.name}")
        return _Place(_absolute(str(stage_output(recipe, index - 1, out))))
    adapter = None if recipe.base_adapter is None else _absolute(recipe.base_adapter)
    if not is_encoder_folder(recipe.base):
        return _Place(_absolute(str(encoder.provenance["base"])), adapter)
    kept = local_adapter(recipe.base)
    if adapter is None and (kept / ADAPTER_CONFIG).is_file():
        return _Place(_base_of(kept), _absolute(str(kept)))
    return _Place(_absolute(recipe.base), adapter)


def _base_of(adapter: Path) -> str:
    file = adapter / ADAPTER_CONFIG
    named = read_object(file).get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise InputError(f"{file}: names no base model (base_model_name_or_path); write the model's name there")
    return named


def _absolute(name: str) -> str:
    """A folder's name that means the same wherever it is read; hub ids and embedded names stay."""
    place = Path(name).expanduser()
    return str(place.absolute()) if place.is_dir() else name


def _moved(file: Path, out: Path) -> str:
    """The adapter's bothways.json for the run's own folder, from where the other adapters lie elsewhere."""
    found = read_object(file)
    before = found.get("base_adapter")
    if before is not None and (file.parent / before).is_dir() and not Path(before).is_absolute():
        found["base_adapter"] = os.path.relpath(file.parent / before, out)
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _link(file: Path, target: Path) -> None:
    """The same file at a second place: as a link, which takes no room, else as a copy."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)
