"""Opens the model of an index, and tells whether a model is the one that made it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch

from bothways.digest import file_sha256
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.evaluation.model_identity import model_fingerprint
from bothways.indexing.settings import IndexSettings


def open_model(
    name: str | os.PathLike[str],
    *,
    pooling: str | None = None,
    device: str,
    dtype: str,
    graph: str | None = None,
) -> Encoder:
    """Load a finished encoder or an export, or convert a base model.

    Args:
        name: folder, hub id or embedded name.
        pooling: pooling of a base model. If None, "mean".
        device: for example "cpu", or "auto".
        dtype: for example "float32", or "auto".
        graph: see `use_graph`.

    Raises:
        InputError: `name` is not a model that can be read, or cannot have the graph.
        SourceError: it cannot be found.
    """
    from bothways.encoder.convert import convert
    from bothways.encoder.load import is_encoder, locate
    from bothways.exports.graphs.exported import is_graph, load
    from bothways.exports.graphs.short.short_passes import use_graph

    if is_graph(name):
        return load(name, graph=graph)
    options: dict[str, Any] = {} if pooling is None else {"pooling": pooling}
    options |= {"device": device, "dtype": dtype}
    source = locate(name)
    if is_encoder(source):
        return load(source, graph=graph, **options)
    encoder = convert(source, **options)
    use_graph(encoder, graph)
    return encoder


def identity(encoder: Encoder) -> str:
    """Compute the fingerprint of an encoder, the same in float32 and in bfloat16."""
    found = model_fingerprint(encoder, rounded=torch.bfloat16)
    place = getattr(encoder, "place", None)
    if not isinstance(place, Path):
        return found
    digest = hashlib.sha256(found.encode())  # an exported graph keeps its weights in files
    for file in sorted(place.rglob("*")):
        if file.is_file() and file.suffix in (".onnx", ".bin", ".xml", ".data"):
            digest.update(f"{file.relative_to(place)} {file_sha256(file)}".encode())
    return digest.hexdigest()


def model_name(name: str | os.PathLike[str]) -> str:
    """Return the name of a model for the settings: a local folder's absolute path, else as it is.

    So the index finds its model from any folder.
    """
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else str(name)


def dtype_of(encoder: Encoder) -> str:
    """Return the precision of an encoder's weights, for example "bfloat16"."""
    return str(encoder.dtype).removeprefix("torch.")


def check_model(encoder: Encoder, settings: IndexSettings, place: str, name: str = "") -> None:
    """Check that an encoder made an index.

    Raises:
        InputError: it is another one, or has other settings now.
    """
    if identity(encoder) != settings.fingerprint:
        raise InputError(settings.other_model(name or "the given encoder", place))
