"""What is known of the base model that an encoder was made from: its name on the hub, revision, license, languages and hash.

Open it when a model card says something wrong about the base. A card must name the base by its hub id or not at all, because a folder's
name tells nobody else anything and shows how a machine is laid out. So a local folder is followed to where it came from: the hub's cache,
the encoder or language model that was trained into it, or the README.md that lies in it. `origin` follows names for the choice of
wrappers, and takes whatever name there is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bothways.backbone.embedded import CARDS, MODELS
from bothways.backbone.origin import CACHED, hub_id

_DEPTH = 16  # folders that name each other in a circle end the search
_HASHED = 4 * 2**30
"""Bytes of weights that are still hashed: some seconds. Larger ones are told by revision only."""

LICENSE = ("license", "license_name", "license_link")
_WEIGHTS = ("*.safetensors", "*.bin")


def base_facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about the base of an encoder, JSON-ready, from its provenance and what lies on this machine. Nothing is fetched.

    Args:
        provenance: of the encoder. Facts that an earlier save wrote there (`base_model`) are taken as they are.

    Returns:
        Those that are known of: id (hub id), revision (commit), license, license_name, license_link, language (list of codes), and
        files (name → sha256 of each weight file, up to 4 GiB in all). Empty if nothing is known.
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
            # a name that is not a place here leads to the hub, unless it is known to have been a place
            return _of_hub(base) if kind == "hub" or (kind not in ("folder", "gguf") and hub_id(base)) else {}
        cached = CACHED.search(place.resolve().as_posix()) or CACHED.search(place.as_posix())
        if cached:
            found = {"id": f"{cached['owner']}/{cached['name']}", "revision": cached["commit"]}
            return {**found, **card_facts(place / "README.md")}
        ours = _read(place / "bothways.json")
        if not ours:
            return _of_folder(place)
        if isinstance(ours.get("base_model"), dict):
            return dict(ours["base_model"])
        base, kind = ours.get("base"), ours.get("source")
    return {}


def card_facts(card: Path) -> dict[str, Any]:
    """License and languages that the front matter of a model card states; nothing where there is no card or it cannot be read."""
    from huggingface_hub import metadata_load

    if not card.is_file():
        return {}
    try:
        stated = metadata_load(card) or {}
    except Exception:  # somebody else's card: what it says wrongly is left out, as what it does not say
        return {}
    return {**license_of(stated), **_language(stated)} if isinstance(stated, dict) else {}


def license_of(stated: Mapping[str, Any]) -> dict[str, Any]:
    """The license fields of a card's front matter. A link into the base's own repository would lead nowhere, so it is left out."""
    found = {key: stated[key] for key in LICENSE if isinstance(stated.get(key), str) and stated[key].strip()}
    several = stated.get("license")
    if isinstance(several, list) and several and all(isinstance(each, str) for each in several):
        found["license"] = several[0] if len(several) == 1 else several
    if not str(found.get("license_link", "http")).startswith("http"):
        del found["license_link"]
    return found if "license" in found else {}


def _language(stated: Mapping[str, Any]) -> dict[str, Any]:
    found = stated.get("language")
    # YAML reads the code of Norwegian as false
    codes = [("no" if code is False else code) for code in (found if isinstance(found, list) else [found])]
    return {"language": codes} if codes and all(isinstance(code, str) and code for code in codes) else {}


def _of_hub(name: str) -> dict[str, Any]:
    """Facts of a hub repository, from the cache that its files were loaded from."""
    from huggingface_hub import try_to_load_from_cache

    found: dict[str, Any] = {"id": name}
    config = try_to_load_from_cache(name, "config.json")
    if isinstance(config, str):
        cached = CACHED.search(Path(config).parent.as_posix())
        found |= {"revision": cached["commit"]} if cached else {}
    card = try_to_load_from_cache(name, "README.md")
    return {**found, **(card_facts(Path(card)) if isinstance(card, str) else {})}


def _of_folder(place: Path) -> dict[str, Any]:
    """Facts of somebody's folder: transformers 4 wrote the hub id into config.json, and a card may lie in it."""
    stated = _read(place / "config.json").get("_name_or_path")
    name = hub_id(stated) if isinstance(stated, str) and not Path(stated).exists() else None
    weights = sorted(file for pattern in _WEIGHTS for file in place.glob(pattern) if file.is_file())
    return {**({"id": name} if name else {}), **card_facts(place / "README.md"), "files": _hashes(weights)}


def _hashes(files: list[Path]) -> dict[str, str]:
    if sum(file.stat().st_size for file in files) > _HASHED:
        return {}
    found = {}
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.sha256()
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
        found[file.name] = digest.hexdigest()
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
