"""Loads a finished encoder, and tells an encoder from a base model.

Open it to see which kind of folder leads to which reader of `encoder.folder`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from bothways.backbone.hardware import resolve_device, resolve_dtype
from bothways.backbone.loading.model_source import (
    Source,
    is_exported_graph,
    locate,
    resolve,
)
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder import head_modules, llm2vec, read
from bothways.encoder.int8 import quantize as int8
from bothways.encoder.texts.tokenization import Text
from bothways.errors import InputError
from bothways.folder_files import ADAPTER, LLM2VEC, MODULES
from bothways.pooling import PoolingConfig
from bothways.pooling.pool import count_from_start


def load(
    folder: str | os.PathLike[str],
    *,
    adapter: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    pooling: str | Mapping[str, Any] | PoolingConfig | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    quantize: str | None = None,
    calibration: Iterable[Text] | None = None,
) -> Encoder:
    """Load a finished encoder.

    For example, `load("out/simcse")`, or an adapter over another base with
    `load("McGill-NLP/LLM2Vec-Sheared-LLaMA-mntp", adapter="out/adapters/simcse")`.

    The folder may be one of ours, a sentence-transformers folder over a decoder, an adapter of
    ours, or a published LLM2Vec folder.

    Args:
        folder: local folder or hub id.
        adapter: folder or hub id of an adapter to merge as well, for example LLM2Vec's second one
            (SimCSE or supervised). You can also name the run of ours that kept it.
        base: the base model of a folder that holds an adapter (ours, sentence-transformers' or
            LLM2Vec's). Only needed if the base that the adapter names cannot be reached.
        pooling: read the same states with another pooling, as SimCSE and LLM2Vec do to compare
            poolings at test. It must have no parameters, for example "first_last_avg". If None, use
            the encoder's own.
        device: see `convert`.
        dtype: see `convert`. With "float32" or the stored type, the weights are the stored ones bit
            by bit.
        quantize: "int8" computes linear layers in 8 bits on the CPU, see `int8.quantize`. Device
            and dtype are then "cpu" and "float32" if they are "auto". `encoder.quantized` says what
            it costs. If None, nothing is rounded.
        calibration: for `quantize`: some texts like those that will be encoded, for example a
            hundred of them.

    Raises:
        InputError: the folder holds no encoder (use `convert` for a base LLM), or one with modules
            that cannot be read, or one that cannot be quantized. Also if `pooling` needs training,
            or would replace a pooling that was trained.
        SourceError: the folder does not exist, or the hub cannot be reached.
    """
    chosen = None if pooling is None else PoolingConfig.of(pooling)
    if chosen is not None and chosen.trained:
        raise InputError(
            f"pooling: {chosen.mode} needs training, so a finished encoder cannot take it; train one with it, starting from "
            f"{folder}"
        )
    device, dtype = int8.place(quantize, device, dtype)
    encoder = _load(locate(folder), adapter, base, resolve_device(device), dtype)
    if chosen is not None:
        _change_pooling(encoder, chosen, folder)
    if quantize is not None:
        int8.quantize(encoder, calibration)
    return encoder


def _change_pooling(
    encoder: Encoder, chosen: PoolingConfig, folder: str | os.PathLike[str]
) -> None:
    """Replace the pooling of an encoder.

    Raises:
        InputError: the encoder's own pooling or a layer behind it was trained, or nothing would be
            left to pool.
    """
    own: Any = encoder.pooling
    behind = " and ".join(head_modules.names(own))
    if behind or any(True for _ in own.parameters()):
        trained = f"{behind} behind it" if behind else "its parameters"
        raise InputError(
            f"pooling: {folder} was trained with {own.mode} pooling and {trained}, so no other pooling fits it; leave pooling out"
        )
    if chosen.mode == "bos" and not encoder.options.pool_bos:
        raise InputError(
            f"pooling: {folder} does not pool BOS, but 'bos' reads nothing else; choose another pooling"
        )
    keep, pooling = getattr(own, "keep", None), chosen.build(encoder.hidden_size)
    count_from_start(pooling, any(getattr(part, "from_start", False) for part in own.modules()))
    width = int(getattr(pooling, "dimension", None) or encoder.hidden_size)
    encoder.pooling = (
        pooling if keep is None else head_modules.Headed(pooling, [], width=width, keep=keep)
    )


def _load(
    folder: Source,
    adapter: str | os.PathLike[str] | None,
    base: str | os.PathLike[str] | None,
    place: torch.device,
    dtype: str | torch.dtype,
) -> Encoder:
    """Read a finished encoder. See `load`."""
    path = local_folder(folder)
    kind = resolve_dtype(dtype, place)
    if llm2vec.is_llm2vec(path) and not (path / MODULES).exists():
        return llm2vec.load(path, adapter=adapter, base=base, device=place, dtype=kind)
    if (path / MODULES).exists() and adapter is not None:
        return llm2vec.add(
            read.load(path, device=place, dtype=torch.float32, base=base), adapter, path, kind
        )
    if adapter is not None:
        raise InputError(
            f"adapter: only valid for encoders, and {folder} is not one; bothways.convert merges an adapter into a base"
        )
    if (path / MODULES).exists():
        return read.load(path, device=place, dtype=kind, base=base)
    if base is not None:
        raise InputError(
            f"base: only valid for adapters and LLM2Vec folders, and {folder} has weights of its own"
        )
    if (path / ADAPTER).exists():
        raise InputError(
            f"{folder}: a PEFT adapter, not an encoder, because it does not name a pooling; make an encoder with "
            f"bothways.convert(base, adapter={str(folder)!r})"
        )
    if is_exported_graph(path):
        raise InputError(
            f"{folder}: is an export, which only encodes; open it with bothways.load, and give its encoder elsewhere"
        )
    if (path / "config.json").exists():
        raise InputError(
            f"{folder}: a base model, not an encoder; use bothways.convert, or train one first"
        )
    raise InputError(f"{folder}: no encoder here (neither {MODULES} nor {LLM2VEC} exists)")


def is_encoder(name: str | os.PathLike[str]) -> bool:
    """Return whether `name` is a finished encoder (for `load`) and not a base (for `convert`).

    Raises:
        SourceError: it is neither, or the hub cannot be reached.
    """
    source = locate(name)
    if not source.holds_encoder:
        resolve(source)  # says what is wrong with a folder that is not a model either
    return source.holds_encoder


def local_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the folder itself, or the snapshot of a hub id."""
    place = locate(folder).folder
    if place is None:
        raise InputError(f"{folder}: a base model, not an encoder; use bothways.convert")
    return place
