"""Ask any encoder for the vectors of texts: ours, a SentenceTransformer, or a plain function from texts to an array.

A query and a document may be encoded differently, so every request names its role. An encoder with `encode_query` and
`encode_document` knows the difference itself and may hold prompts for it; a prompt that is given takes their place. A plain function
knows nothing of prompts: it gets them as the beginning of the text, which is what sentence-transformers does with them too.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from bothways.errors import InputError

Role = Literal["query", "document"]

_PROBES = 4  # texts from the beginning, and the longest ones, that tell one model from another


class Vectors:
    """An encoder behind one face. Calling it gives unit vectors (n, D) float32; a vector of zeros stays one."""

    def __init__(self, encoder: Any, *, batch_tokens: int | None = None) -> None:
        """Hold the encoder.

        Args:
            encoder: has `encode(list of texts)`, or is a function of a list of texts.
            batch_tokens: tokens per pass, for encoders that know the word.

        Raises:
            InputError: neither an encoder nor a function.
        """
        if not callable(getattr(encoder, "encode", None)) and not callable(encoder):
            raise InputError(
                f"encoder: {type(encoder).__name__} cannot encode; expected an object with encode(list of texts), or a function"
            )
        self.encoder, self.batch_tokens = encoder, batch_tokens

    @property
    def name(self) -> str:
        """What messages call the encoder."""
        return getattr(self.encoder, "__qualname__", type(self.encoder).__name__)

    def __call__(self, texts: Sequence[str], role: Role, prompt: str | None) -> np.ndarray:
        """Unit vectors (n, D) float32 of n ≥ 1 texts.

        Args:
            texts: what to encode.
            role: which side of a search they are.
            prompt: put before each, "" for none; None leaves it to the encoder.

        Raises:
            InputError: the result is not (n, D), or holds NaN or infinity (the text is named).
        """
        found = as_array(self._encode(list(texts), role, prompt))
        if found.ndim != 2 or len(found) != len(texts):
            raise InputError(f"{self.name} returned shape {found.shape} for {len(texts)} texts; expected (n, d)")
        bad = ~np.isfinite(found).all(axis=1)
        if bad.any():
            shown = " ".join(texts[int(bad.argmax())].split())[:60]
            raise InputError(f"{self.name} returned NaN or infinity for {int(bad.sum())} texts, first {shown!r}")
        return unit(found)

    def fingerprint(self, texts: Sequence[str], role: Role, prompt: str | None) -> str:
        """SHA-256 (hex) over the vectors of a few of these texts, bit by bit: the same for the same model on the same machine.

        What a model does is asked and not what it is made of, so that functions have a fingerprint too. The longest texts are among
        them, since a limit of length shows there alone.
        """
        probes = dict.fromkeys([*texts[:_PROBES], *sorted(texts, key=len, reverse=True)[:_PROBES]])
        digest = hashlib.sha256(f"{self.name}\x1f{role}\x1f{prompt!r}".encode("utf-8", "surrogatepass"))
        digest.update(self(list(probes), role, prompt).tobytes())
        return digest.hexdigest()

    def _encode(self, texts: list[str], role: Role, prompt: str | None) -> Any:
        method = getattr(self.encoder, f"encode_{role}", None) or getattr(self.encoder, "encode", None)
        if method is None:
            return self.encoder([f"{prompt or ''}{text}" for text in texts])
        named = _parameters(method)
        if "**" in named and callable(getattr(self.encoder, "encode", None)):
            named |= _parameters(self.encoder.encode)  # encode_query(texts, **options) hands its options on to encode
        options: dict[str, Any] = {}
        if "show_progress_bar" in named:
            options["show_progress_bar"] = False
        if self.batch_tokens is not None and "batch_tokens" in named:
            options["batch_tokens"] = self.batch_tokens
        if prompt is not None and "prompt" in named:
            options["prompt"] = prompt
        elif prompt:
            texts = [f"{prompt}{text}" for text in texts]
        return method(texts, **options)


def as_array(vectors: Any) -> np.ndarray:
    """Whatever an encoder returned (array, tensor of any type and device, list of either) as a float32 array."""
    if isinstance(vectors, (list, tuple)) and vectors and hasattr(vectors[0], "detach"):
        return np.stack([as_array(vector) for vector in vectors])
    if hasattr(vectors, "detach"):  # a tensor; numpy knows neither bfloat16 nor other devices
        return vectors.detach().float().cpu().numpy()
    return np.asarray(vectors, dtype=np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows (n, D) scaled to length 1; a row of zeros stays, so that its cosine with anything is 0."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def _parameters(method: Callable[..., Any]) -> set[str]:
    """The parameters a callable names; "**" among them if it takes any others."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):  # callables written in C have no signature
        return set()
    return {"**" if each.kind is each.VAR_KEYWORD else each.name for each in parameters}
