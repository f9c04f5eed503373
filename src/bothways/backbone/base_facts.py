"""Collects facts about an encoder's base model: hub name, revision, license, languages and hash.

Open it if a model card says something wrong about the base. A card must name the base by its hub id
or not at all. A folder's name means nothing to others, and shows the layout of a machine. So a
local folder is traced to its origin: the hub's cache, the encoder or language model that was
trained into it, or the README.md in it. The module `origin` also follows names, for the choice of
wrappers, but accepts any name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bothways.backbone.loading.embedded import CARDS, MODELS
from bothways.backbone.origin import CACHED, hub_id
from bothways.digest import file_sha256
from bothways.folder_files import OURS
from bothways.foreign import object_if_whole

_DEPTH = 16  # the search ends here if folders name each other in a circle
_HASHED = 4 * 2**30
"""Maximum number of bytes of weights to hash, which takes some seconds.

Larger weights are identified only by their revision.
"""

LICENSE = ("license", "license_name", "license_link")
_WEIGHTS = ("*.safetensors", "*.bin")


def base_facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the facts about an encoder's base, JSON-ready, without downloading anything.

    They come from the encoder's provenance and from files on this machine.

    Args:
        provenance: provenance of the encoder. If an earlier save wrote facts there (`base_model`),
            they are used unchanged.

    Returns:
        The known facts: id (hub id), revision (commit), license, license_name, license_link,
            language (list of codes), and files (name → sha256 of each weight file, up to 4 GiB in
            all). Empty if nothing is known.
    """
    known = provenance.get("base_model")
    if isinstance(known, dict):
        return known
    base, kind = provenance.get("base"), provenance.get("source")
    for _ in range(_DEPTH):
        if not isinstance(base, str) or not base:
            return {}
        if base.lower() in MODELS and kind in (None, "embedded"):
            wanted = MODELS[base.lower()]
            return {**CARDS[base.lower()], "files": {wanted.file: wanted.sha256}}
        place = Path(base).expanduser()
        if place.suffix.lower() == ".gguf" and place.is_file():
            return {"files": _hashes([place])}
        if not place.is_dir():
            # A name that is not a local path means the hub, unless it is known to have been a path.
            return (
                _of_hub(base)
                if kind == "hub" or (kind not in ("folder", "gguf") and hub_id(base))
                else {}
            )
        cached = CACHED.search(place.resolve().as_posix()) or CACHED.search(place.as_posix())
        if cached:
            found = {"id": f"{cached['owner']}/{cached['name']}", "revision": cached["commit"]}
            return {**found, **card_facts(place / "README.md")}
        ours = object_if_whole(place / OURS)
        if not ours:
            return _of_folder(place)
        if isinstance(ours.get("base_model"), dict):
            return dict(ours["base_model"])
        base, kind = ours.get("base"), ours.get("source")
    return {}


def card_facts(card: Path) -> dict[str, Any]:
    """Read license and languages from the front matter of a model card.

    The result is empty if there is no card or it cannot be read.
    """
    from huggingface_hub import metadata_load

    if not card.is_file():
        return {}
    try:
        stated = metadata_load(card) or {}
    except Exception:  # a broken card of another author counts as an empty one
        return {}
    return {**license_of(stated), **_language(stated)} if isinstance(stated, dict) else {}


def license_of(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Select the license fields of a card's front matter.

    A link into the base's own repository would not work in another one, so it is left out.
    """
    found = {
        key: stated[key]
        for key in LICENSE
        if isinstance(stated.get(key), str) and stated[key].strip()
    }
    several = stated.get("license")
    if isinstance(several, list) and several and all(isinstance(each, str) for each in several):
        found["license"] = several[0] if len(several) == 1 else several
    if not str(found.get("license_link", "http")).startswith("http"):
        del found["license_link"]
    return found if "license" in found else {}


def _language(stated: Mapping[str, Any]) -> dict[str, Any]:
    found = stated.get("language")
    # YAML reads the code of Norwegian as false.
    codes = [
        ("no" if code is False else code)
        for code in (found if isinstance(found, list) else [found])
    ]
    return (
        {"language": codes}
        if codes and all(isinstance(code, str) and code for code in codes)
        else {}
    )


def _of_hub(name: str) -> dict[str, Any]:
    """Collect the facts of a hub repository, from the cache that its files were loaded from."""
    from huggingface_hub import try_to_load_from_cache

    found: dict[str, Any] = {"id": name}
    config = try_to_load_from_cache(name, "config.json")
    if isinstance(config, str):
        cached = CACHED.search(Path(config).parent.as_posix())
        found |= {"revision": cached["commit"]} if cached else {}
    card = try_to_load_from_cache(name, "README.md")
    return {**found, **(card_facts(Path(card)) if isinstance(card, str) else {})}


def _of_folder(place: Path) -> dict[str, Any]:
    """Collect the facts of another author's folder.

    transformers 4 wrote the hub id into config.json, and the folder may hold a card.
    """
    stated = object_if_whole(place / "config.json").get("_name_or_path")
    name = hub_id(stated) if isinstance(stated, str) and not Path(stated).exists() else None
    weights = sorted(file for pattern in _WEIGHTS for file in place.glob(pattern) if file.is_file())
    return {
        **({"id": name} if name else {}),
        **card_facts(place / "README.md"),
        "files": _hashes(weights),
    }


def _hashes(files: list[Path]) -> dict[str, str]:
    if sum(file.stat().st_size for file in files) > _HASHED:
        return {}
    return {file.name: file_sha256(file) for file in files}
