"""The base model that an adapter's configuration names, in the version that it was trained over."""

from __future__ import annotations

from pathlib import Path

from bothways.backbone.loading.hub import snapshot
from bothways.backbone.loading.model_source import Source, resolve
from bothways.errors import InputError
from bothways.folder_files import ADAPTER
from bothways.foreign import read_object


def named_base(folder: Path) -> Source | None:
    """Find the base model that an adapter names, or None if it names none.

    `revision` is followed, as peft's AutoPeftModel does: the weights of another version of the base
    would give other vectors.

    Args:
        folder: holds adapter_config.json.

    Raises:
        InputError: if the name or the revision is not a string.
        SourceError: if the base does not exist, or the hub does not have this revision.
    """
    file = folder / ADAPTER
    values = read_object(file)
    name, revision = values.get("base_model_name_or_path") or None, values.get("revision") or None
    for field, value in (("base_model_name_or_path", name), ("revision", revision)):
        if not isinstance(value, str | None):
            raise InputError(
                f"{file}: {field} must be a string (got {value!r:.60}); correct it, or give the base as base="
            )
    if name is None:
        return None
    source = resolve(name)
    if revision is None or source.kind != "hub":
        return source
    return Source(name, "folder", str(snapshot(source.path, revision)))
