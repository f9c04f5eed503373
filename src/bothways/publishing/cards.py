"""The card of a saved encoder, written anew with what its user adds: license, languages, the base's name on the hub, figures."""

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
from bothways.publishing.contents import contents
from bothways.publishing.figures import read_figures

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
    """Write README.md of a saved encoder anew.

    Args:
        folder: what `save` or a run has written.
        license: identifier of the hub, e.g. "apache-2.0". If None, the one in the card so far, then the base's.
        language: codes such as "en". If empty, as for `license`.
        base_model: hub id of the base. If None, as for `license`.
        name: the model's own name on the hub, ORG/NAME.
        results: files of `bothways evaluate`; results*.json in the folder are taken too.
        replace: also replace a card that somebody has changed.

    Returns:
        The card.

    Raises:
        InputError: not a finished encoder, an edited card without `replace`, results of another model, or an option that the hub would
            refuse.
        OutputError: the card cannot be written.
    """
    place = Path(folder)
    options = CardOptions(license=license, language=tuple(language), base_model=base_model, name=name)
    contents(place)
    card = place / CARD
    if not replace and not is_free(card):
        raise InputError(f"{card}: somebody has changed it, so it stays; change it by hand, or say --replace to write it anew")
    text = made(load(place, device="cpu", dtype="auto"), place, options, results)
    with atomic_file(card) as part:
        part.write_text(text, encoding="utf-8")
    return card


def made(encoder: Encoder, folder: Path, options: CardOptions, results: Iterable[str | os.PathLike[str]]) -> str:
    """The text of a card: the options, then what the card in the folder says if bothways wrote it, then what the encoder knows."""
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
    """Whether a card may be written there: there is none, or bothways wrote the one there is."""
    if not card.is_file():
        return True
    return is_ours(card.read_text(encoding="utf-8", errors="replace"))


def _stated(card: Path) -> dict[str, Any]:
    """Front matter of a card that bothways wrote; nothing of another one."""
    return front_matter_of(card) if card.is_file() and is_free(card) else {}


def front_matter_of(card: Path) -> dict[str, Any]:
    """The front matter of a card, checked by huggingface_hub's own classes; empty if there is none.

    Raises:
        InputError: it is not YAML, or its figures are not a model index.
    """
    from huggingface_hub import ModelCardData, metadata_load

    with foreign(card, "has a front matter that hubs refuse", "correct the lines between the dashes"):
        found = metadata_load(card) or {}
        ModelCardData(**found)
    return found
