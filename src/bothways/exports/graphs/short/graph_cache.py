"""The cache of graphs: one folder for each shape of an encoder, below the user's cache folder.

    graphs/KEY/graph.xml, graph.bin     as `bare_graph.write` wrote them, without weights
    graphs/KEY/graph.json               the SHA-256 of both

A key covers everything that a graph without weights depends on: the family's configuration, names
and shapes of the weights, tables that are not weights, pooling, and the versions of the libraries.
Equal shapes with other weights have the same key. So a folder has about a megabyte, and training
makes no new one. The `MOST` folders that were used last are kept. You can remove the folder
`graphs` at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from bothways.atomic import atomic_folder, remove_folder
from bothways.attention.text_config import text_configs, windowed_layers
from bothways.backbone.loading.embedded import cache_root
from bothways.digest import file_sha256
from bothways.encoder.encoder import Encoder
from bothways.errors import OutputError
from bothways.exports.graphs.padded_encoder import PaddedEncoder
from bothways.exports.graphs.short import bare_graph
from bothways.provenance import versions

GRAPH = "graph.xml"
_FILES = (GRAPH, "graph.bin")
_NOTE = "graph.json"
MOST = 50
"""Graphs that are kept. One takes about a megabyte."""
_FORMAT = 1  # raise it when graphs are traced in another way

log = logging.getLogger("bothways")


def key(encoder: Encoder, tokens: int) -> str:
    """Compute the key (64 hex digits) of the graph of an encoder for texts of up to `tokens`."""
    module = PaddedEncoder(encoder)
    config: Any = next(text_configs(encoder.backbone))
    passing = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
    facts = {
        "format": _FORMAT,
        "tokens": tokens,
        "versions": {**versions(), "openvino": version("openvino")},
        "class": f"{type(encoder.backbone).__module__}.{type(encoder.backbone).__qualname__}",
        "config": {name: value for name, value in config.to_dict().items() if name not in passing},
        "windows": windowed_layers(config),
        "execution": encoder.execution,
        "modules": [[name, type(each).__qualname__] for name, each in module.named_modules()],
        "pooling": [module.mode, module.offset, module.takes_positions, encoder.dimension],
        "weights": [[name, list(each.shape)] for name, each in module.named_parameters()],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, value in module.named_buffers():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def folder_of(encoder: Encoder, tokens: int) -> Path:
    """Return the folder of an encoder's graph, which may not exist yet."""
    return cache_root() / "graphs" / key(encoder, tokens)


def stored(folder: Path) -> Path | None:
    """Return the file of the graph in a folder, or None if it is not there or damaged."""
    try:
        noted = json.loads((folder / _NOTE).read_text(encoding="utf-8"))["sha256"]
        whole = all(file_sha256(folder / name) == noted[name] for name in _FILES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        log.warning("%s: the stored graph is damaged; graph='openvino' makes it again", folder)
        return None
    with suppress(OSError):
        os.utime(folder)  # used now, so it is kept
    return folder / GRAPH


def ensure(encoder: Encoder, tokens: int, name: str) -> Path:
    """Return the file of an encoder's graph. If it is not stored, make it.

    If several processes ask at the same time, they wait for the first one to finish.

    Raises:
        UnsupportedFamily: no graph can be made of the family.
        OutputError: the cache cannot be written.
    """
    folder = folder_of(encoder, tokens)
    if (found := stored(folder)) is not None:  # before the lock, because a cache may be read-only
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if (found := stored(folder)) is not None:
                return found
            log.info("%s: making an OpenVINO graph for short requests, once", name)
            start = time.monotonic()
            with atomic_folder(folder, replace=True) as part:
                bare_graph.write(encoder, part / GRAPH, tokens, name)
                digests = {file: file_sha256(part / file) for file in _FILES}
                (part / _NOTE).write_text(json.dumps({"sha256": digests}), encoding="utf-8")
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"{folder.parent}: the graph cannot be stored ({error.strerror or error}); set BOTHWAYS_CACHE to another folder"
        ) from error
    _forget_old(folder.parent)
    size = sum((folder / file).stat().st_size for file in _FILES)
    taken = time.monotonic() - start
    log.info("%s: the graph took %.0f s and %.1f MB in %s", name, taken, size / 1e6, folder)
    return folder / GRAPH


def _forget_old(graphs: Path) -> None:
    """Remove the graphs that were used longest ago, until `MOST` are left."""
    ages = []
    for note in graphs.glob(f"*/{_NOTE}"):
        with suppress(OSError):  # another process has removed it
            ages.append((note.parent.stat().st_mtime_ns, note.parent))
    for _, old in sorted(ages)[: max(0, len(ages) - MOST)]:
        with suppress(OSError):
            remove_folder(old)
            Path(f"{old}.lock").unlink(missing_ok=True)
