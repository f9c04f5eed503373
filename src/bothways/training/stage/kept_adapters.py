"""Writes the adapters that stages keep: adapters/1-mntp in PEFT's format, and what each belongs to.

Open it if something about `Stage.keep` is unclear. A kept adapter names the base that it was
trained over, and by `base_adapter` the adapters that were merged before it. If the stage before
keeps no adapter, its merged encoder is the base. So these three all give what the stage has
trained:

    peft_model_name_or_path: out/mntp
    convert BASE --adapter out/mntp
    bothways.load("out/mntp/adapters/1-mntp")
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from bothways.backbone.adapter.adapter_files import (
    FACTORS,
    MERGED,
    NEEDS,
    WHOLE,
    adapter_fingerprint,
    local_adapter,
    save_adapter,
)
from bothways.backbone.rope import given_positions
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.adapter_settings import write_adapter_settings
from bothways.errors import InputError
from bothways.folder_files import ADAPTER, LLM2VEC
from bothways.foreign import object_if_whole, read_object
from bothways.training.stage.encoder_options import (
    adapter_folder,
    base_positions,
    is_encoder_folder,
)
from bothways.training.stage.stage_context import StageContext

UNKEPT = "not kept: "
"""Start of the entry in `MERGED` for a stage without a kept adapter, followed by its name."""


class _Below(NamedTuple):
    """The model that an adapter is trained over: a base, and an adapter that is merged into it."""

    base: str
    base_adapter: str | None = None


def save_kept(encoder: Encoder, context: StageContext, *, causal: bool) -> None:
    """Write the encoder's adapter, if the stage keeps it, and record the merge in the provenance.

    Args:
        encoder: with the trained adapter, before it is merged.
        context: the stage.
        causal: name the adapter's layers as in the causal LM, not as in the bare decoder.
    """
    stage = context.stage
    merged: Any = encoder.provenance.get(MERGED, [])
    if not stage.keeps_adapter:
        encoder.provenance[MERGED] = [*merged, f"{UNKEPT}{stage.name}"]
        return
    assert stage.adapter is not None
    folder, below = context.adapter_folder, _below(encoder, context)
    rope = base_positions(context) if context.before is None else None
    save_adapter(
        encoder.backbone,
        stage.adapter,
        folder,
        base=below.base,
        base_adapter=below.base_adapter,
        rope=None if rope is None else given_positions(context.base, rope),
        causal=causal,
    )
    encoder.provenance[MERGED] = [*merged, str(adapter_fingerprint(folder))]


def describe_kept(encoder: Encoder, context: StageContext) -> None:
    """Write next to a stage's kept adapter the settings that make an encoder of it.

    The stage must be in the provenance already.
    """
    if context.stage.keeps_adapter:
        write_adapter_settings(
            encoder,
            context.adapter_folder,
            pooling="eos_token" if context.recipe.pooling == "eos" else None,
        )


def publish_kept(context: StageContext) -> None:
    """Link the last stage's adapter into the run's own folder. The markers arrive last."""
    folder, out = context.adapter_folder, context.run_folder
    marker = NEEDS
    for file in sorted(folder.iterdir(), key=lambda file: (file.name == marker, file.name)):
        target = out / file.name
        if file.is_dir():
            shutil.copytree(file, target, dirs_exist_ok=True)
        elif file.name == marker:
            part = out / f".{marker}.part"
            part.write_text(_moved(file, out), encoding="utf-8", errors="backslashreplace")
            os.replace(part, target)
        else:
            target.unlink(missing_ok=True)
            _link(file, target)


def withdraw_kept(out: Path) -> None:
    """Remove the files that an interrupted `publish_kept` has put into the run's folder.

    Loaders would merge the adapter into the encoder that is saved next to it.
    """
    for name in (ADAPTER, *FACTORS, WHOLE, LLM2VEC):
        (out / name).unlink(missing_ok=True)


def is_kept(folder: Path) -> bool:
    """Tell if a folder holds an adapter with an encoder's settings, so `describe_kept` is done."""
    return (folder / ADAPTER).is_file() and "encoder" in object_if_whole(folder / NEEDS)


def _below(encoder: Encoder, context: StageContext) -> _Below:
    recipe, before = context.recipe, context.before
    if before is not None:
        if is_kept(before.adapter_folder):
            return _Below(_base_of(before.adapter_folder), f"../{before.adapter_folder.name}")
        return _Below(_absolute(str(before.output)))
    adapter = None if recipe.base_adapter is None else _absolute(recipe.base_adapter)
    if not is_encoder_folder(recipe.base):
        return _Below(_absolute(str(encoder.provenance["base"])), adapter)
    source = context.base
    if adapter is None and source.kind == "hub" and source.holds(ADAPTER):
        return _Below(_base_of(adapter_folder(source)), recipe.base)
    kept = local_adapter(recipe.base)
    if adapter is None and (kept / ADAPTER).is_file():
        return _Below(_base_of(kept), _absolute(str(kept)))
    return _Below(_absolute(recipe.base), adapter)


def _base_of(adapter: Path) -> str:
    file = adapter / ADAPTER
    values = read_object(file)
    named = values.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise InputError(
            f"{file}: names no base model (base_model_name_or_path); write the model's name there"
        )
    if values.get("revision") and not Path(named).expanduser().is_dir():
        raise InputError(
            f"{file}: its base is revision {values['revision']!r:.60} of {named}, which an adapter over it would not name; download that "
            "revision and write its folder there, or use keep: merged"
        )
    return named


def _absolute(name: str) -> str:
    """Return a folder's absolute path, and a hub id or an embedded name as it is."""
    folder = Path(name).expanduser()
    return str(folder.absolute()) if folder.is_dir() else name


def _moved(file: Path, out: Path) -> str:
    """Return an adapter's bothways.json for the run's own folder, with a relative path adjusted."""
    facts = read_object(file)
    before = facts.get("base_adapter")
    if before is not None and (file.parent / before).is_dir() and not Path(before).is_absolute():
        facts["base_adapter"] = os.path.relpath(file.parent / before, out)
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def _link(file: Path, target: Path) -> None:
    """Link a file to a second path, which takes no space. Copy it if links are not possible."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)
