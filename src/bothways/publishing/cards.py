"""Writes the card of a saved encoder again, with facts from its user.

These are the license, languages, the base's name on the hub, and scores.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.atomic import atomic_file
from bothways.backbone.base_facts import license_of
from bothways.encoder.folder.card import CARD, is_ours, model_card
from bothways.encoder.folder.card_metadata import CardOptions
from bothways.encoder.folder.write import loader_notes
from bothways.encoder.load import load
from bothways.errors import InputError
from bothways.foreign import foreign
from bothways.publishing.card_figures import read_figures
from bothways.publishing.contents import contents

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder


def write_card(
    folder: str | os.PathLike[str],
    *,
    license: str | None = None,
    language: Iterable[str] = (),
    base_model: str | None = None,
    name: str | None = None,
    results: Iterable[str | os.PathLike[str]] = (),
    replace: bool = False,
) -> Path:
    """Write README.md of a saved encoder again.

    Args:
        folder: folder of `save` or of a run.
        license: identifier of the hub, for example "apache-2.0". If None, use the one in the old
            card, then the base's.
        language: codes such as "en". If empty, as for `license`.
        base_model: hub id of the base. If None, as for `license`.
        name: name of this model on the hub, ORG/NAME.
        results: files of `bothways evaluate`. results*.json in the folder are used too.
        replace: if True, replace a card that somebody has changed.

    Returns:
        The path of the card.

    Raises:
        InputError: if it is not a finished encoder, somebody has changed the card and `replace` is
            False, results are of another model, or the hub would refuse an option.
        OutputError: if the card cannot be written.
    """
    place = Path(folder)
    options = CardOptions(
        license=license, language=tuple(language), base_model=base_model, name=name
    )
    contents(place)
    card = place / CARD
    if not replace and not is_free(card):
        raise InputError(
            f"{card}: somebody has changed it, so it is not replaced; change it by hand, or write it again with --replace"
        )
    text = made(load(place, device="cpu", dtype="auto"), place, options, results)
    with atomic_file(card) as part:
        part.write_text(text, encoding="utf-8")
    return card


def made(
    encoder: Encoder, folder: Path, options: CardOptions, results: Iterable[str | os.PathLike[str]]
) -> str:
    """Return the text of a card.

    The options come first, then the old card if bothways wrote it, then the encoder's own facts.
    """
    before = _stated(folder / CARD)
    stated = before.get("language") or []
    language = tuple(stated) if isinstance(stated, list) else (stated,)
    filled = replace(
        options,
        license=options.license or license_of(before).get("license"),
        language=options.language or language,
        base_model=options.base_model or before.get("base_model"),
        figures=read_figures(encoder, folder, results),
    )
    return model_card(encoder, loader_notes(encoder), filled)


def is_free(card: Path) -> bool:
    """Return whether a card may be written: if there is none, or bothways wrote it."""
    if not card.is_file():
        return True
    return is_ours(card.read_text(encoding="utf-8", errors="replace"))


def _stated(card: Path) -> dict[str, Any]:
    """Return the front matter of a card that bothways wrote. For another card, return nothing."""
    return front_matter_of(card) if card.is_file() and is_free(card) else {}


def front_matter_of(card: Path) -> dict[str, Any]:
    """Return the front matter of a card, checked by huggingface_hub. Empty if there is none.

    Raises:
        InputError: if it is not YAML, or its scores are not a model index.
    """
    from huggingface_hub import ModelCardData, metadata_load

    with foreign(
        card, "has a front matter that hubs refuse", "correct the lines between the dashes"
    ):
        found = metadata_load(card) or {}
        ModelCardData(**found)
    return found
