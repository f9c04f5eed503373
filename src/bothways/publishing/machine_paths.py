"""Finds paths of this machine in files to publish, and removes them from bothways.json.

A path shows user names, customers and the layout of a machine, and does not help anybody else.
bothways.json is ours, and all of its fields are known, so its paths are cut to their last name. A
path in another file was written by somebody else. Then the upload is refused, and the error names
the file and the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bothways.backbone.origin import hub_id
from bothways.encoder.folder.card_training import last_name

LOCAL = "a local model"
"""The name of a base that is not on the hub."""

# a path as a whole value: a root, the home folder, a drive or a share, then at least one folder
_PATH = r"(?:file://)?(?:~[\w.-]*(?=[/\\])|[A-Za-z]:(?=[/\\]))?[/\\]{1,2}[^/\\\n?<>|*]+[/\\][^\n?]*"
_WHOLE = re.compile(rf"(?P<before>(?:[\w-]+:)*?)(?P<path>{_PATH})(?P<after>(?:\?[^\n]*)?)")
_ROOTS = "home|Users|root|mnt|tmp|data|scratch|work|workspace|var|opt|srv|media|private|Volumes|export|gpfs|lustre|content|kaggle"
_INSIDE = re.compile(
    rf"""(?:(?<=[\s'"`(=:,\[])|^)(?:file://)?(?:/(?:{_ROOTS})/[^\s'"`)\],]+|~/[^\s'"`)\],]+|[A-Za-z]:\\[^\s'"`)\],]+)""",
    re.MULTILINE,
)
_TEXTS = ("wrapper", "prompts", "loader_notes")
"""Keys with texts for the model, or with sentences of ours."""


def without_places(ours: Mapping[str, Any], base_model: str | None) -> dict[str, Any]:
    """Return bothways.json in the form that may be published.

    Args:
        ours: the file's content.
        base_model: hub id of the base. None if it does not have one.

    Returns:
        The content with only the last name of each path. A base that is not on the hub is called
            "a local model".
    """
    found = {key: value if key in _TEXTS else _shortened(value) for key, value in ours.items()}
    for key in ("base", "origin"):
        if key in found and (ours.get("source") != "embedded" or key == "origin"):
            name = str(ours[key])
            found[key] = base_model or (
                name if ours.get("source") == "hub" and hub_id(name) else LOCAL
            )
    if "base_adapter" in found and (
        hub_id(str(ours["base_adapter"])) is None or Path(str(ours["base_adapter"])).exists()
    ):
        found["base_adapter"] = "a local adapter"
    known = found.get("base_model")
    if isinstance(known, dict):
        if base_model is not None:
            found["base_model"] = {**known, "id": base_model}
        elif "id" not in known and isinstance(known.get("files"), dict):
            found["base_model"] = {**known, "files": _unnamed(known["files"])}
    return found


def _unnamed(files: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of weight files under neutral names.

    The name of a .gguf file is the model's own name.
    """
    named = {
        (name if re.match(r"(pytorch_)?model\b", name) else "weights"): digest
        for name, digest in files.items()
    }
    return (
        named
        if len(named) == len(files)
        else {f"weights {i}": digest for i, digest in enumerate(files.values(), 1)}
    )


def _shortened(value: object) -> Any:
    if isinstance(value, Mapping):
        found = {key: _shortened(each) for key, each in value.items()}
        if isinstance(value.get("source"), str) and value.get("kind") in ("file", "folder"):
            found["source"] = last_name(value["source"])
        return found
    if isinstance(value, list):
        return [_shortened(each) for each in value]
    if not isinstance(value, str):
        return value
    whole = _WHOLE.fullmatch(value)
    if whole:
        return f"{whole['before']}{last_name(whole['path'])}{whole['after']}"
    return _INSIDE.sub(lambda found: last_name(found[0]), value)


def in_values(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string of a JSON value that is a path, after its dotted position.

    For example, {"a": ["/home/me/x"]} yields ("a[0]", "/home/me/x"). Texts for the model are
    skipped.
    """
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key not in _TEXTS:
                yield from in_values(each, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from in_values(each, f"{place}[{number}]")
    elif isinstance(value, str) and _WHOLE.fullmatch(value):
        yield place, value


def in_text(text: str, *own: Path) -> Iterator[tuple[int, str]]:
    """Yield the line number of each path of a machine in a text, and the path.

    Args:
        text: for example a card.
        own: more paths to look for, such as the folder itself.
    """
    known = [str(place) for place in own if len(place.parts) > 2]
    for number, line in enumerate(text.splitlines(), 1):
        for found in _INSIDE.findall(line) or [place for place in known if place in line]:
            yield number, found
            break
