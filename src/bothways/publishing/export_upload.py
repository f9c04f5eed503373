"""Uploads of exports: which files belong to one, its proof, and its card.

An export is not an encoder that the doctor could load. It is proved by `verify_export`, in the
loaders of its server that are installed here, and by the server's rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bothways.encoder.folder.card import CARD, is_ours, unsealed
from bothways.encoder.folder.card import sealed as seal
from bothways.encoder.folder.card_metadata import CardOptions
from bothways.errors import InputError
from bothways.exports.manifest import MANIFEST, read_manifest
from bothways.exports.verify import verify_export, verify_rules
from bothways.publishing.contents import KEPT, Contents, matching


def is_export(folder: Path) -> bool:
    """Return whether a folder is an export that is not an encoder's folder.

    An export to sentence-transformers is an encoder's folder, and is uploaded as one.
    """
    if not (folder / MANIFEST).is_file():
        return False
    return read_manifest(folder).get("target") != "sentence-transformers"


def export_contents(folder: Path, include: Iterable[str] = ()) -> Contents:
    """Select the files of an export that are published: those that `export` wrote.

    Args:
        folder: the export.
        include: patterns of more files, for example "*.png".

    Raises:
        InputError: if the folder is damaged, or a file of the export is missing.
    """
    listed = read_manifest(folder).get("files")
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise InputError(
            f"{folder}: does not list its files, as exports do; export the model again"
        )
    gone = next((name for name in listed if not (folder / name).is_file()), None)
    if gone is not None:
        raise InputError(
            f"{folder / gone}: is missing, but {MANIFEST} names it; export the model again"
        )
    present = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    files = {*listed, *matching(present, (*KEPT, *include))}
    return Contents(sorted(files), sorted(set(present) - files))


def prove_export(folder: Path) -> None:
    """Run an export in the loaders that are installed here, and check it against the rules.

    Raises:
        InputError: if a cosine is too low, or a file breaks a rule of the server.
        LoaderError: if a loader cannot run it.
        MissingExtra: if no loader for it is installed.
    """
    broken = next((rule for rule in verify_rules(folder) if not rule.ok), None)
    if broken is not None:
        raise InputError(
            f"{folder}: {broken.server} needs {broken.rule}, but {broken.fault}, so it is not uploaded"
        )
    worst = min(verify_export(folder), key=lambda each: each.cosine)
    if not worst.ok:
        raise InputError(
            f"{folder}: the text '{worst.case}' has cosine {worst.cosine:.4f} in {worst.loader}, below {worst.bar}, so it is not "
            f"uploaded; see bothways verify-export {folder}"
        )


def export_card(folder: Path, options: CardOptions, results: Sequence[Any]) -> str:
    """Return the text of an export's card, with the license and languages that are given.

    Raises:
        InputError: if results are given, or options for a card that somebody has changed.
    """
    from huggingface_hub import ModelCard

    if results:
        raise InputError(
            f"results: the card of an export does not show scores; push the encoder with them, and name it in the README of {folder}"
        )
    card = folder / CARD
    text = card.read_text(encoding="utf-8")
    given: dict[str, Any] = {
        "license": options.license and options.license.lower(),
        "language": list(options.language),
        "base_model": options.base_model,
    }
    given = {key: value for key, value in given.items() if value}
    if not given:
        return text
    if not is_ours(text):
        raise InputError(
            f"{card}: somebody has changed it, so options for the card do not have an effect; change it by hand"
        )
    changed = ModelCard(unsealed(text))
    for key, value in given.items():
        setattr(changed.data, key, value)
    return seal(str(changed))
