"""`load_export`: an ONNX export with the `encode` of an encoder, run by ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import AutoTokenizer

from bothways.encoder import prompts
from bothways.encoder.batch import TokenRow
from bothways.encoder.tokenization import Text, TextTokenizer, Wrapper
from bothways.errors import InputError, MissingExtra
from bothways.exports.manifest import read_manifest
from bothways.exports.onnx_folder import INPUTS

BATCH = 8
"""Texts of like length in one pass. More of them leave the CPU's caches."""


class OnnxEncoder:
    """An exported encoder. Texts are tokenized as in the encoder itself.

    Args:
        folder: what `bothways export --to onnx` wrote.
        threads: of ONNX Runtime; if None, its own choice.

    Raises:
        InputError: the folder is not an ONNX export, or is damaged.
        MissingExtra: onnxruntime is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], *, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtra("onnxruntime", "onnx", "running an ONNX export") from None
        place = Path(folder)
        manifest = read_manifest(place)
        if manifest.get("target") != "onnx":
            raise InputError(f"{folder}: is an export to {manifest.get('target')}; only ONNX exports are loaded")
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(place / manifest["file"]), options, providers=["CPUExecutionProvider"]
            )
            tokenizer = AutoTokenizer.from_pretrained(place)
            self.dimension = int(manifest["dimension"])
            self.max_length = int(manifest["tokens"]) or None
            self.prompts: dict[str, str] = dict(manifest["prompts"])
            self.default_prompt: str | None = manifest["default_prompt"]
            self.normalize = bool(manifest["normalize"])
            self._tokenize = TextTokenizer(
                tokenizer,
                max_length=self.max_length,
                pool_bos=bool(manifest["pool_bos"]),
                pool_prompt=bool(manifest["pool_prompt"]),
                wrapper=Wrapper(*manifest["wrapper"]),
            )
        except Exception as error:  # onnxruntime and tokenizers raise classes of their own
            raise InputError(f"{folder}: damaged ({type(error).__name__}); export the model again") from error
        self._pad = tokenizer.pad_token_id or 0

    def encode(
        self,
        texts: Text | Iterable[Text],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
    ) -> np.ndarray[Any, Any]:
        """Encode texts; the arguments are those of `Encoder.encode`.

        Returns:
            float32 array (N, D), or (D,) for one text.

        Raises:
            InputError: an item that is not a text, or a prompt name that is not stored.
        """
        single = isinstance(texts, (str, tuple))
        items: list[Any] = [texts] if single else list(texts)
        if prompt is None:
            prompt = prompts.named(self.prompts, self.default_prompt, prompt_name)
        rows = self._tokenize(items, prompt=prompt)
        vectors = np.zeros((len(rows), self.dimension), dtype=np.float32)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            vectors[chosen] = self._run([rows[index] for index in chosen])
        if truncate_dim is not None:
            vectors = vectors[:, :truncate_dim]
        unit = self.normalize if normalize_embeddings is None else normalize_embeddings
        if unit:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors[0] if single else vectors

    def encode_query(self, texts: Text | Iterable[Text], **options: Any) -> np.ndarray[Any, Any]:
        """Encode with the stored prompt for queries, if there is one."""
        return self._encode_role(texts, "query", options)

    def encode_document(self, texts: Text | Iterable[Text], **options: Any) -> np.ndarray[Any, Any]:
        """Encode with the stored prompt for documents, if there is one."""
        return self._encode_role(texts, "document", options)

    def _encode_role(
        self, texts: Text | Iterable[Text], role: Literal["query", "document"], options: dict[str, Any]
    ) -> np.ndarray[Any, Any]:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            options = {**options, "prompt": prompts.of_role(self.prompts, self.default_prompt, role) or ""}
        return self.encode(texts, **options)

    def _run(self, rows: list[TokenRow]) -> np.ndarray[Any, Any]:
        length = max(2, *(len(row.ids) for row in rows))  # the graph is traced for two tokens and more
        ids = np.full((len(rows), length), self._pad, dtype=np.int64)
        mask, pool = np.zeros_like(ids), np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)], mask[index, : len(row.ids)] = row.ids, 1
            pool[index, : len(row.ids)] = row.pool
        found: np.ndarray[Any, Any] = self._session.run(None, dict(zip(INPUTS, (ids, mask, pool), strict=True)))[0]
        return found


def load_export(folder: str | os.PathLike[str], *, threads: int | None = None) -> OnnxEncoder:
    """Open an ONNX export; see `OnnxEncoder`."""
    return OnnxEncoder(folder, threads=threads)
