"""Get the vectors of texts from any encoder: ours, a SentenceTransformer, or a function.

Evaluation and mining both call `encode_texts`, so that a model gets the same texts in both.

A prompt has one rule. If the encoder's method names an argument `prompt`, it is passed there and
replaces the prompt that is stored with the encoder. Otherwise the prompt is put before each text,
as sentence-transformers does itself. None leaves prompts to the encoder, and "" means no prompt.

Letters: N texts, D numbers in a vector.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from bothways.errors import InputError
from bothways.similarity import prepared
from bothways.similarity import unit as unit  # its place in earlier versions
from bothways.similarity_names import Similarity, similarity_name

Role = Literal["symmetric", "query", "document"]

_METHODS: dict[Role, str] = {
    "symmetric": "encode",
    "query": "encode_query",
    "document": "encode_document",
}
_PROBES = 4  # number of first texts, and of longest texts, in a fingerprint


class SupportsEncode(Protocol):
    """An object with `encode(list of texts)`, such as a bothways or sentence-transformers encoder.

    `encode_query` and `encode_document` are used for these roles if the object has them. The result
    is an array or tensor (N, D), or a list of N vectors.
    """

    def encode(self, texts: list[str], /) -> Any:
        """Return a vector for each text."""
        ...


AnyEncoder = SupportsEncode | Callable[[list[str]], Any]
"""An object with `encode`, or a function of a list of texts."""


def encode_texts(
    encoder: AnyEncoder,
    texts: Sequence[str],
    role: Role = "symmetric",
    *,
    prompt: str | None = None,
    batch_tokens: int | None = None,
    show_progress_bar: bool | None = None,
) -> np.ndarray:
    """Return the vectors of `texts` in order, float32 (N, D). Equal texts are encoded once.

    Args:
        encoder: an object with `encode(list of texts)`, or a function of a list of texts.
        texts: N ≥ 1 texts.
        role: the side of a search that the texts are on. A symmetric task such as STS always uses
            `encode`.
        prompt: the instruction for the texts, for example "query: ". See the rule at the top of
            this file.
        batch_tokens: tokens per forward pass. Passed on only if the encoder's signature names it.
        show_progress_bar: passed on only if it is not None and the encoder's signature names it.

    Raises:
        InputError: if the encoder cannot encode, if the result is not (N, D), or if a vector holds
            NaN or infinity (the error names the text).
    """
    distinct = list(dict.fromkeys(texts))
    options = {
        "batch_tokens": batch_tokens,
        "show_progress_bar": show_progress_bar,
        "prompt": prompt,
    }
    vectors = as_array(
        _encode(
            encoder,
            distinct,
            role,
            {key: value for key, value in options.items() if value is not None},
        )
    )
    if vectors.ndim != 2 or len(vectors) != len(distinct):
        raise InputError(
            f"{encoder_name(encoder)} returned shape {vectors.shape} for {len(distinct)} texts; expected (n, d)"
        )
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        text = " ".join(distinct[int(bad.argmax())].split())
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise InputError(
            f"{encoder_name(encoder)} returned NaN or infinity for {int(bad.sum())} texts, first {shown!r}"
        )
    row_of = {text: row for row, text in enumerate(distinct)}
    return vectors if len(distinct) == len(texts) else vectors[[row_of[text] for text in texts]]


def check_encoder(encoder: object) -> None:
    """Check that an object can encode.

    Raises:
        InputError: if `encoder` has no `encode` method and is not a function.
    """
    if not callable(getattr(encoder, "encode", None)) and not callable(encoder):
        name = type(encoder).__name__
        raise InputError(
            f"{name} cannot encode: it does not have a method encode(list of texts); pass an encoder, or a function of texts"
        )


def encoder_name(encoder: object) -> str:
    """Return the name that messages use for an encoder: its class, or the function's own name."""
    return getattr(encoder, "__qualname__", type(encoder).__name__)


class Vectors:
    """An encoder that returns vectors by role and prompt, prepared for a search.

    Attributes:
        encoder: see `encode_texts`.
        batch_tokens: tokens per forward pass, for encoders that accept it.
        name: the encoder's name in messages.
        at_once: number of lists of texts that it encodes at the same time: its attribute `at_once`,
            for example the processes of `bulk.pool.EncoderPool`, or 1.
        similarity: how these vectors are compared.
    """

    def __init__(
        self,
        encoder: AnyEncoder,
        *,
        batch_tokens: int | None = None,
        similarity: Similarity | None = None,
    ) -> None:
        """Keep the encoder.

        Args:
            encoder: see `encode_texts`.
            batch_tokens: tokens per forward pass, for encoders that accept it.
            similarity: how to compare vectors. If None, as the encoder says, see `similarity_name`.

        Raises:
            InputError: if it is neither an encoder nor a function, or if the similarity is unknown.
        """
        check_encoder(encoder)
        self.encoder, self.batch_tokens = encoder, batch_tokens
        self.name = encoder_name(encoder)
        self.at_once = int(getattr(encoder, "at_once", 1))
        self.similarity = similarity_name(encoder, similarity)

    def __call__(self, texts: Sequence[str], role: Role, prompt: str | None) -> np.ndarray:
        """Return prepared vectors (N, D) float32, see `encode_texts`.

        For cosines they are unit vectors, and a vector of zeros stays one.
        """
        options: dict[str, Any] = {
            "prompt": prompt,
            "batch_tokens": self.batch_tokens,
            "show_progress_bar": False,
        }
        return prepared(encode_texts(self.encoder, texts, role, **options), self.similarity)

    def fingerprint(self, texts: Sequence[str], role: Role, prompt: str | None) -> str:
        """Return a SHA-256 (hex) over the vectors of a few of these texts.

        It is the same for the same model on the same machine. It is computed from vectors and not
        from weights, so that functions have a fingerprint too. The longest texts are among the few,
        because a length limit shows only there.
        """
        probes = dict.fromkeys([*texts[:_PROBES], *sorted(texts, key=len, reverse=True)[:_PROBES]])
        digest = hashlib.sha256(
            f"{self.name}\x1f{role}\x1f{prompt!r}".encode("utf-8", "surrogatepass")
        )
        digest.update(self(list(probes), role, prompt).tobytes())
        return digest.hexdigest()


def as_array(vectors: object) -> np.ndarray:
    """Convert the output of an encoder to a float32 array.

    The output is an array, a tensor of any type and device, or a list of either.
    """
    if isinstance(vectors, (list, tuple)) and vectors and hasattr(vectors[0], "detach"):
        return np.stack([as_array(vector) for vector in vectors])
    if hasattr(vectors, "detach"):  # a tensor. numpy supports neither bfloat16 nor other devices
        array: np.ndarray = vectors.detach().float().cpu().numpy()
        return array
    return np.asarray(vectors, dtype=np.float32)


def _encode(encoder: Any, texts: list[str], role: Role, options: dict[str, Any]) -> Any:
    method = getattr(encoder, _METHODS[role], None) or getattr(encoder, "encode", None)
    if not callable(method):
        check_encoder(encoder)
        return encoder(_prompted(texts, options.get("prompt")))
    named = _parameters(method)
    if "**" in named and callable(getattr(encoder, "encode", None)):
        named |= _parameters(
            encoder.encode
        )  # encode_query(texts, **options) passes options on to encode
    if "prompt" not in named:
        texts = _prompted(texts, options.get("prompt"))
    return method(texts, **{key: value for key, value in options.items() if key in named})


def _prompted(texts: list[str], prompt: str | None) -> list[str]:
    return [f"{prompt}{text}" for text in texts] if prompt else texts


def _parameters(method: Callable[..., Any]) -> set[str]:
    """Return the parameters that a callable names, and "**" if it takes any others."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):  # callables written in C have no signature
        return set()
    return {"**" if each.kind is each.VAR_KEYWORD else each.name for each in parameters}
