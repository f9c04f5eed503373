"""Encoders that share one base: adapters of our stages, unmerged over one copy of its weights.

`load` merges an adapter, so each encoder has a base of its own. Here ten adapters of a model of
14 GB take 14 GB and their factors. An encoder activates its adapter before each pass. So one pass
runs at a time, over all encoders of a base.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from bothways.attention.text_config import state_width
from bothways.backbone.adapter.adapter_files import local_adapter
from bothways.backbone.adapter.unmerged import activate, attach_saved
from bothways.backbone.hardware import resolve_device, resolve_dtype
from bothways.backbone.loading.sources import load_pretrained, saved_tokenizer
from bothways.encoder.batch import TokenBatch
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.adapter_settings import AdapterSettings, read_settings
from bothways.encoder.prepare_backbone import prepare
from bothways.errors import InputError
from bothways.folder_files import ADAPTER
from bothways.foreign import read_object
from bothways.provenance import versions


class SharedEncoder(Encoder):
    """An encoder whose backbone belongs to several.

    Attributes:
        adapter: the name of its adapter in the backbone.
        turn: held while an adapter acts, by all encoders of the backbone.
    """

    adapter: str
    turn: threading.RLock

    def states(self, batch: TokenBatch) -> Tensor:
        """See `EncoderModule`."""
        with self._active():
            return super().states(batch)

    def pooled_states(self, batch: TokenBatch) -> Tensor:
        """See `EncoderModule`."""
        with self._active():
            return super().pooled_states(batch)

    @contextmanager
    def _active(self) -> Iterator[None]:
        with self.turn:
            activate(self.backbone, self.adapter)
            yield


def load_over_one_base(
    folders: Mapping[str, str | os.PathLike[str]],
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
) -> dict[str, Encoder]:
    """Load adapters of one base, with one copy of its weights.

    For example, `load_over_one_base({"a": "runs/a", "b": "runs/b"})`, if both runs ended with
    `keep: adapter`.

    Args:
        folders: the folders of the adapters, by name.
        device: see `bothways.load`.
        dtype: type of the base's weights, see `bothways.load`.

    Returns:
        The encoders by name. Their vectors are those of `bothways.load` up to rounding.

    Raises:
        InputError: a folder holds no adapter of ours, the adapters have several bases, or one
            changes more than linear layers.
        SourceError: the base cannot be found.
    """
    places = {name: local_adapter(folder) for name, folder in folders.items()}
    settings = {name: _settings(place) for name, place in places.items()}
    bases = {name: _base(place) for name, place in places.items()}
    _check_alike(places, settings, bases)
    first = next(iter(places))
    place = resolve_device(device)
    loaded = load_pretrained(bases[first], dtype=resolve_dtype(dtype, place), device=place)
    _check_tokens(places, settings, len(loaded.model.get_input_embeddings().weight))
    direction = settings[first].direction
    execution, report = prepare(loaded.model, direction)
    names = attach_saved(loaded.model, list(places.values()))
    loaded.model.eval()
    turn = threading.RLock()
    encoders: dict[str, Encoder] = {}
    for adapter, (name, folder) in zip(names, places.items()):
        width = state_width(loaded.model)
        encoder = SharedEncoder(
            loaded.model,
            saved_tokenizer(folder, loaded),
            settings[name].build_pooling(folder, width, place).to(place),
            direction=direction,
            execution=execution,
            options=settings[name].options(),
            provenance={
                "base": bases[name],
                "source": "shared base",
                "stages": [{"name": folder.name, "adapter": str(folder)}],
                "report": report,
                "versions": versions(),
            },
        )
        encoder.adapter, encoder.turn = adapter, turn
        encoders[name] = encoder.eval()
    return encoders


def _check_alike(
    places: Mapping[str, Path], settings: Mapping[str, AdapterSettings], bases: Mapping[str, str]
) -> None:
    """Raise InputError if the adapters have several bases or directions."""
    first = next(iter(places))
    for name in places:
        for what, own, other in (
            ("base", bases[name], bases[first]),
            ("direction", settings[name].direction, settings[first].direction),
        ):
            if own != other:
                raise InputError(
                    f"{places[name]}: has the {what} {own}, and {places[first]} has {other}; adapters that share a base need the "
                    "same one"
                )


def _check_tokens(
    places: Mapping[str, Path], settings: Mapping[str, AdapterSettings], rows: int
) -> None:
    """Raise InputError if an adapter has tokens that the base's `rows` embeddings lack."""
    wrong = next((name for name, each in settings.items() if each.vocabulary > rows), None)
    if wrong is not None:
        raise InputError(
            f"{places[wrong]}: has tokens of its own, so it cannot share its base with others; load it by itself, which merges it"
        )


def _settings(place: Path) -> AdapterSettings:
    found = read_settings(place) if (place / ADAPTER).is_file() else None
    if found is None:
        raise InputError(
            f"{place}: is not an adapter that a stage kept (keep: adapter), so it shares no base; load it by itself"
        )
    return found


def _base(place: Path) -> str:
    name = str(read_object(place / ADAPTER).get("base_model_name_or_path") or "")
    if not name:
        raise InputError(f"{place / ADAPTER}: names no base model (base_model_name_or_path)")
    return name
