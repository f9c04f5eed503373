"""`bw.load` of an export: an ONNX or OpenVINO graph with the interface of an encoder.

Letters: B texts, L tokens, N texts of a call, D embedding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from bothways.encoder.batch import TokenBatch
from bothways.encoder.encoder import Encoder
from bothways.encoder.int8 import quantize as int8
from bothways.encoder.load import load as load_encoder
from bothways.encoder.options import EncoderOptions
from bothways.encoder.texts.tokenization import Text
from bothways.encoder.texts.wrapping import Wrapper
from bothways.errors import BothwaysError, InputError
from bothways.exports.graphs import onnx_graph, openvino_graph
from bothways.exports.graphs.short import short_passes
from bothways.exports.manifest import MANIFEST, read_manifest
from bothways.exports.reference import cosine
from bothways.exports.result import Result

TITLES = {"onnx": "ONNX", "openvino": "OpenVINO"}
LOADERS = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}


class _Inside(nn.Module):
    """Takes the place of the pooling, which is inside the graph."""

    def __init__(self, mode: str, dimension: int) -> None:
        super().__init__()
        self.mode = mode
        self.dimension = dimension


class ExportedEncoder(Encoder):
    """An exported encoder. It encodes as the encoder itself does, but cannot be trained.

    Args:
        folder: an export to ONNX or OpenVINO.
        threads: number of threads. If None, the runtime chooses.

    Raises:
        InputError: if the folder is not such an export, or is damaged. Methods that need the
            weights raise it too.
        MissingExtra: if the runtime is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], *, threads: int | None = None) -> None:
        nn.Module.__init__(self)
        self.place = Path(folder).expanduser()
        manifest = read_manifest(self.place)
        target = manifest.get("target")
        if target not in TITLES:
            raise InputError(
                f"{folder}: is an export to {target}, and only {' and '.join(TITLES.values())} exports can be loaded"
            )
        self.target = str(target)
        try:
            file = self.place / str(manifest["file"])
            self._run = (onnx_graph if target == "onnx" else openvino_graph).open_run(file, threads)
            self.tokenizer = AutoTokenizer.from_pretrained(self.place)
            self.pooling = _Inside(str(manifest.get("pooling", "mean")), int(manifest["dimension"]))
            self.options = EncoderOptions(
                max_length=int(manifest["tokens"]) or None,
                pool_bos=bool(manifest["pool_bos"]),
                pool_prompt=bool(manifest["pool_prompt"]),
                stock_prompts=bool(manifest.get("stock_prompts", False)),
                normalize=bool(manifest["normalize"]),
                prompts=dict(manifest["prompts"]),
                default_prompt=manifest["default_prompt"],
                wrapper=Wrapper(*manifest["wrapper"]),
                similarity=manifest.get("similarity", "cosine"),
            )
            self._rows = int(manifest.get("rows", 0)) or None
            self._table = int(manifest.get("table", 0)) or None
            self._hidden = int(manifest.get("hidden", 0)) or int(manifest["dimension"])
            self._name = str(manifest.get("name", "encoder"))
        except BothwaysError:
            raise
        except Exception as error:  # runtimes and tokenizers raise classes of their own
            raise InputError(
                f"{folder}: damaged ({type(error).__name__}); export the model again"
            ) from error
        self.direction = "bidirectional"
        self.execution = "padded"  # the graph takes rows with padding
        self.warned_prompts = set()
        self.provenance = {
            "base": self._name,
            "export": self.target,
            "dtype": manifest.get("dtype"),
        }
        self.eval()

    @property
    def backbone(self) -> NoReturn:  # type: ignore[override]
        """Refuse access to the weights.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{self.place}: is an {TITLES[self.target]} export, which can only encode, because its weights are inside the graph; "
            "use the encoder that it was made from"
        )

    @property
    def device(self) -> torch.device:
        """Return the CPU, which runs the graph."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the vectors."""
        return torch.float32

    @property
    def hidden_size(self) -> int:
        """Return H, the width of the backbone's states."""
        return self._hidden

    def embedding_rows(self) -> int | None:
        """Return the number of tokens that the graph has embeddings for, or None if unknown."""
        return self._rows

    def forward(self, batch: TokenBatch) -> Tensor:
        """Compute the vectors (N, D) float32 of a packed batch, not normalized."""
        lengths = batch.plan.lengths[: batch.rows]
        length = max(2, *lengths)  # the graph is traced for two tokens and more
        ids = np.zeros((len(lengths), length), dtype=np.int64)
        mask, pool = np.zeros_like(ids), np.zeros_like(ids)
        start = 0
        for row, size in enumerate(lengths):
            ids[row, :size] = batch.input_ids[start : start + size].numpy()
            pool[row, :size] = batch.pool[start : start + size].numpy()
            mask[row, :size] = 1
            start += size
        return torch.from_numpy(self._run(ids, mask, pool))


def load_export(folder: str | os.PathLike[str], *, threads: int | None = None) -> ExportedEncoder:
    """Open an ONNX or OpenVINO export, see `ExportedEncoder`."""
    return ExportedEncoder(folder, threads=threads)


def is_graph(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder is an ONNX or OpenVINO export."""
    place = Path(folder).expanduser()
    return (place / MANIFEST).is_file() and read_manifest(place).get("target") in TITLES


def load(folder: str | os.PathLike[str], *, graph: str | None = "auto", **options: Any) -> Encoder:
    """Open a finished encoder: a folder or hub id, or an ONNX or OpenVINO export.

    For example, `load("out/simcse", graph="openvino")` answers single queries faster.

    Args:
        folder: local folder or hub id.
        graph: "openvino" computes short requests in an OpenVINO graph, with the same vectors, or in
            int8 if `quantize` says so.
            Device and dtype are then "cpu" and "float32" if they are "auto". "auto" does so after
            some short requests if a graph was made before. If None, torch computes everything. See
            `short_passes.use_graph`.
        **options: those of `bothways.encoder.load.load`. An export takes "device" (auto or cpu) and
            "dtype" (auto or float32) alone.

    Raises:
        InputError: if it is not an encoder, an export does not have an option, or the encoder does
            not fit the graph that is asked for.
        SourceError: if it does not exist, or the hub cannot be reached.
        MissingExtra: if the runtime of an export or a graph is not installed.
        UnsupportedFamily: if no graph can be made of the family.
    """
    places = ("device", "dtype")
    device, dtype = short_passes.place_of(graph, *(options.get(name, "auto") for name in places))
    if graph == "openvino" and is_graph(folder):
        raise InputError(f"graph: an export is a graph already; leave graph out ({folder})")
    if not is_graph(folder):
        options |= {"device": device, "dtype": dtype}
        if graph == "openvino" and options.get("quantize") is not None:
            return _in_int8(folder, **options)
        encoder = load_encoder(folder, **options)
        short_passes.use_graph(encoder, graph)
        return encoder
    for key, value in options.items():
        fitting = {"device": ("auto", "cpu"), "dtype": ("auto", "float32")}.get(key, ())
        if value is not None and str(value).removeprefix("torch.") not in fitting:
            raise InputError(
                f"{key}: {value} does not work with an export, which runs on the CPU in the type it was written in ({folder})"
            )
    return ExportedEncoder(folder)


def _in_int8(
    folder: str | os.PathLike[str],
    *,
    quantize: str,
    device: Any,
    dtype: Any,
    calibration: Iterable[Text] | None = None,
    **options: Any,
) -> Encoder:
    """Open an encoder in int8, with a graph. It is in float32 until the graph is made."""
    device, dtype = int8.place(quantize, device, dtype)
    encoder = load_encoder(folder, **options, device=device, dtype=dtype)
    short_passes.quantize_with_graph(encoder, calibration)
    return encoder


def verify_rows(folder: Path) -> list[Result]:
    """Run the stored texts alone and in one batch, see `verify_export`."""
    manifest = read_manifest(folder)
    encoder = ExportedEncoder(folder)
    results = []
    for way in ("single", "batch"):
        vectors: dict[int, Any] = {}
        rows = list(enumerate(manifest["reference"]))
        for prompt in dict.fromkeys(row.get("prompt", "") for _, row in rows):
            chosen = [
                (index, row["text"]) for index, row in rows if row.get("prompt", "") == prompt
            ]
            options = {"prompt_name": prompt} if prompt else {"prompt": ""}
            size = len(chosen) if way == "batch" else 1
            found = encoder.encode(
                [text for _, text in chosen], batch_size=size, batch_tokens=10**6, **options
            )
            vectors |= {index: vector for (index, _), vector in zip(chosen, found, strict=True)}
        results += [
            Result(
                LOADERS[encoder.target],
                f"{row['case']}, {way}",
                cosine(vectors[i], row["vector"]),
                float(manifest["bar"]),
            )
            for i, row in rows
        ]
    return results
