"""The model of a job: its name, how each process opens it, and the facts that identify it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bothways.digest import file_sha256

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder


@dataclass(frozen=True)
class ModelRequest:
    """A model as every process of a job opens it.

    Attributes:
        name: an encoder folder, or a base model, as `bothways encode` takes it.
        device: for example "cpu". "auto" with several GPUs gives each process one of them in turn.
        dtype: type of the weights.
        pooling: replaces the encoder's own. If None, it stays.
    """

    name: str
    device: str = "auto"
    dtype: str = "auto"
    pooling: str | None = None

    def open(self, index: int = 0) -> Encoder:
        """Load the model for process number `index`."""
        # Large libraries are imported when they are needed. So a process starts at once.
        from bothways.encoder.convert import convert
        from bothways.encoder.load import is_encoder, locate
        from bothways.exports.graphs.exported import load

        options: dict[str, Any] = {"device": self._device(index), "dtype": self.dtype}
        if self.pooling is not None:
            options["pooling"] = self.pooling
        source = locate(self.name)
        if is_encoder(source):
            return load(source, graph=None, **options)
        return convert(source, **options)

    def _device(self, index: int) -> str:
        import torch

        gpus = torch.cuda.device_count() if self.device == "auto" else 0
        return f"cuda:{index % gpus}" if gpus > 1 else self.device


def fingerprint(encoder: Encoder) -> str:
    """Compute the SHA-256 (64 hex digits) that identifies an encoder, see `model_identity`.

    The weights of an export are inside its graph, so its files are read too.
    """
    from bothways.evaluation.model_identity import model_fingerprint
    from bothways.exports.graphs.exported import ExportedEncoder

    digest = hashlib.sha256(model_fingerprint(encoder).encode())
    if not isinstance(encoder, ExportedEncoder):
        return model_fingerprint(encoder)
    for file in sorted(each for each in encoder.place.rglob("*") if each.is_file()):
        digest.update(f"{file.relative_to(encoder.place)} {file_sha256(file)}\n".encode())
    return digest.hexdigest()
