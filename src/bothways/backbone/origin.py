"""Traces a name back to its base model, through folders of encoders, adapters and checkpoints.

Open it when something depends on the base LLM that a model was made from, as LLM2Vec's chat
wrappers and masking do. A run that continues from its own output is named after a folder such as
`out/mntp`, which does not tell the base. The files in it do: `bothways.json` names the base of an
encoder, `adapter_config.json` that of an adapter, and `config.json` has `_name_or_path` if
transformers 4 wrote it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from bothways.folder_files import ADAPTER, OURS
from bothways.foreign import object_if_whole

_DEPTH = 16  # The search ends after this many folders, in case they name each other in a circle.
# The hub's cache keeps a repository's files under a hash, below a folder named after its id.
CACHED = re.compile(r"models--(?P<owner>[^/]+?)--(?P<name>[^/]+)/snapshots/(?P<commit>[^/]+)/?$")


class Origin(NamedTuple):
    """The base model of a name.

    Attributes:
        name: hub id of the base, or the name of its folder or file if nothing says more.
        model_type: transformers' name of the family. None if there is no config.json to read.
        stated: True if a file or the caller names the base by its hub id. If False, only a folder's
            or file's name is known.
    """

    name: str
    model_type: str | None
    stated: bool

    @property
    def short(self) -> str:
        """Return the name without its owner and folders, in lower case.

        For example "mistral-7b-instruct-v0.2".
        """
        return Path(self.name).name.lower()


def origin(base: str | os.PathLike[str]) -> Origin:
    """Follow a name to the base model that it was made from.

    Nothing is downloaded. A file that cannot be read is ignored.

    Args:
        base: hub id, .gguf file, or the folder of a base, an encoder or an adapter. For example,
            `out/mntp`, trained from Mistral's instruct model, gives
            "mistralai/Mistral-7B-Instruct-v0.2".
    """
    name, model_type = os.fspath(base), None
    for _ in range(_DEPTH):
        place = Path(name).expanduser()
        if not place.is_dir():
            break
        model_type = model_type or _text(object_if_whole(place / "config.json").get("model_type"))
        before = _before(place)
        if before is None or before == name:
            cached = CACHED.search(place.as_posix())
            return Origin(
                f"{cached['owner']}/{cached['name']}" if cached else place.resolve().name,
                model_type,
                bool(cached),
            )
        name = before
    return Origin(name, model_type, hub_id(name) is not None)


def _before(place: Path) -> str | None:
    """Return the model that the files of a folder name as its origin."""
    ours = object_if_whole(place / OURS)
    named = (
        ours.get("origin"),
        ours.get("base"),
        object_if_whole(place / ADAPTER).get("base_model_name_or_path"),
        object_if_whole(place / "config.json").get("_name_or_path"),
    )
    return next((text for text in map(_text, named) if text), None)


def hub_id(name: str) -> str | None:
    """Return the name itself if it has the form of a hub id (OWNER/NAME), else None."""
    looks_so = re.fullmatch(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9_][\w.\-]*", name) is not None
    return name if looks_so and not name.lower().endswith(".gguf") else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
