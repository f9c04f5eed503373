"""The methods of an encoder that map texts to vectors, with the arguments of sentence-transformers.

Open it for the meaning of an argument of `encode`. The passes themselves are in
`encoder.inference`. The overloads tell a type checker which type a call returns: an array unless a
tensor is asked for, with one axis for one text and two for many.

Letters: N texts, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from bothways.encoder import inference
from bothways.encoder.encode_types import (
    EncodeKeywords,
    OneText,
    PassKeywords,
    Precision,
    Vector,
    Vectors,
)
from bothways.encoder.module import EncoderModule
from bothways.encoder.texts.tokenization import Text
from bothways.similarity import similarity_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TextEncoder(EncoderModule):
    """An encoder's module with the methods that map texts to vectors."""

    @overload
    def encode(  # type: ignore[overload-overlap]
        self,
        texts: OneText,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool | None = ...,
        *,
        convert_to_tensor: Literal[False] = ...,
        convert_to_numpy: Literal[True] = ...,
        **options: Unpack[PassKeywords],
    ) -> Vector: ...

    @overload
    def encode(
        self,
        texts: Iterable[Text],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool | None = ...,
        *,
        convert_to_tensor: Literal[False] = ...,
        convert_to_numpy: Literal[True] = ...,
        **options: Unpack[PassKeywords],
    ) -> Vectors: ...

    @overload
    def encode(
        self,
        texts: Text | Iterable[Text],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool | None = ...,
        *,
        convert_to_tensor: Literal[True],
        convert_to_numpy: bool = ...,
        **options: Unpack[PassKeywords],
    ) -> Tensor: ...

    @overload
    def encode(
        self,
        texts: Text | Iterable[Text],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool | None = ...,
        *,
        convert_to_tensor: bool = ...,
        convert_to_numpy: Literal[False],
        **options: Unpack[PassKeywords],
    ) -> Tensor: ...

    @overload
    def encode(
        self,
        texts: Text | Iterable[Text],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool | None = ...,
        precision: Precision = ...,
        convert_to_tensor: bool = ...,
        normalize_embeddings: bool | None = ...,
        truncate_dim: int | None = ...,
        batch_tokens: int | None = ...,
        convert_to_numpy: bool = ...,
    ) -> np.ndarray | Tensor: ...

    def encode(
        self,
        texts: Text | Iterable[Text],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        precision: Precision = "float32",
        convert_to_tensor: bool = False,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
        batch_tokens: int | None = None,
        convert_to_numpy: bool = True,
    ) -> np.ndarray | Tensor:
        """Encode texts to vectors, in input order.

        For example, `encode(["a cat", ("Find it:", "a dog")])` returns an array of two rows.

        Args:
            texts: one text, or a list or any other iterable of texts. A long iterable is read in
                windows and never held whole. Each text is a string, or a pair (instruction, text)
                whose instruction is seen but not pooled: ("Find it:", "a cat"), or as a list,
                ["Find it:", "a cat"]. A list of two strings by itself is two texts, so write a
                single pair as a tuple.
            prompt_name: name of a stored prompt.
            prompt: instruction for all texts that have none of their own.
            batch_size: maximum number of texts per pass. Rarely needed, because `batch_tokens` is
                the real unit of work.
            show_progress_bar: if None, show it on a terminal when encoding takes long.
            precision: "float32", or "int8", "uint8", "binary", "ubinary" (sentence-transformers'
                quantization).
            convert_to_tensor: return a torch tensor on the CPU instead of a numpy array.
            normalize_embeddings: return unit vectors. If None, use the encoder's own setting.
            truncate_dim: keep only this many leading numbers, then normalize. sentence-transformers
                6 cuts last, and needs normalize_embeddings=True for the same unit vectors.
            batch_tokens: tokens per pass. If None, a number that suits the device. It is halved
                automatically when memory runs out.
            convert_to_numpy: for callers written for sentence-transformers. If False, return a
                tensor.

        Returns:
            Array (N, D), or (D,) for one text, in float32 unless `precision` says otherwise.

        Raises:
            InputError: an item is not a text (the message gives its index), a prompt name is not
                stored, or a number is out of range.
        """
        single = inference.is_one(texts)
        items: Iterable[Text] = [texts] if single else texts  # type: ignore[list-item]
        settings = self._settings(
            prompt_name, prompt, batch_size, normalize_embeddings, truncate_dim, batch_tokens
        )
        parts = [
            part
            for _, part in inference.encode_windows(self, items, settings, show=show_progress_bar)
        ]
        empty = np.empty((0, truncate_dim or self.dimension), dtype=np.float32)
        result = inference.quantize(
            parts[0] if len(parts) == 1 else np.concatenate([empty, *parts]), precision
        )
        result = result[0] if single else result
        return torch.from_numpy(result) if convert_to_tensor or not convert_to_numpy else result

    def encode_stream(
        self,
        texts: Iterable[Text],
        *,
        window: int = inference.WINDOW,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
        batch_tokens: int | None = None,
    ) -> Iterator[tuple[list[Text], np.ndarray]]:
        """Encode a stream: yields (texts, vectors) for every `window` texts, or fewer long ones.

        For example, `for texts, vectors in encoder.encode_stream(open("book.txt")): …` reads a file
        of any size. Other arguments are those of `encode`.
        """
        settings = self._settings(
            prompt_name, prompt, batch_size, normalize_embeddings, truncate_dim, batch_tokens
        )
        return inference.encode_windows(
            self, texts, settings, show=show_progress_bar, window=window
        )

    def _settings(
        self,
        prompt_name: str | None,
        prompt: str | None,
        batch_size: int | None,
        normalize: bool | None,
        truncate_dim: int | None,
        batch_tokens: int | None,
    ) -> inference.EncodeSettings:
        settings = inference.EncodeSettings(
            prompt=self.prompt(prompt, prompt_name),
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            normalize=self.options.normalize if normalize is None else normalize,
            truncate_dim=truncate_dim,
        )
        settings.check(self.dimension)
        return settings

    @overload
    def encode_query(  # type: ignore[overload-overlap]
        self,
        texts: OneText,
        *,
        convert_to_tensor: Literal[False] = ...,
        convert_to_numpy: Literal[True] = ...,
        **options: Unpack[EncodeKeywords],
    ) -> Vector: ...

    @overload
    def encode_query(
        self,
        texts: Iterable[Text],
        *,
        convert_to_tensor: Literal[False] = ...,
        convert_to_numpy: Literal[True] = ...,
        **options: Unpack[EncodeKeywords],
    ) -> Vectors: ...

    @overload
    def encode_query(
        self,
        texts: Text | Iterable[Text],
        *,
        convert_to_tensor: Literal[True],
        convert_to_numpy: bool = ...,
        **options: Unpack[EncodeKeywords],
    ) -> Tensor: ...

    @overload
    def encode_query(
        self,
        texts: Text | Iterable[Text],
        *,
        convert_to_tensor: bool = ...,
        convert_to_numpy: Literal[False],
        **options: Unpack[EncodeKeywords],
    ) -> Tensor: ...

    @overload
    def encode_query(
        self,
        texts: Text | Iterable[Text],
        *,
        convert_to_tensor: bool = ...,
        convert_to_numpy: bool = ...,
        **options: Unpack[EncodeKeywords],
    ) -> np.ndarray | Tensor: ...

    def encode_query(self, texts: Text | Iterable[Text], **options: object) -> np.ndarray | Tensor:
        """Encode with the stored prompt "query", if there is one.

        For example, `encode_query("how tall is Everest")` returns one vector (D,). Arguments are
        those of `encode`. If you give `prompt` or `prompt_name`, it replaces the stored prompt.
        """
        return self._encode_as("query", texts, options)

    @overload
    def encode_document(  # type: ignore[overload-overlap]
        self,
        texts: OneText,
        *,
        convert_to_tensor: Literal[False] = ...,
        convert_to_numpy: Literal[True] = ...,
        **options: Unpack[EncodeKeywords],
    ) -> Vector: ...

    @overload
    def encode_document(
        self,
        texts: Iterable[Text],
        *,
        convert_to_tensor: Literal[False] = ...,
        convert_to_numpy: Literal[True] = ...,
        **options: Unpack[EncodeKeywords],
    ) -> Vectors: ...

    @overload
    def encode_document(
        self,
        texts: Text | Iterable[Text],
        *,
        convert_to_tensor: Literal[True],
        convert_to_numpy: bool = ...,
        **options: Unpack[EncodeKeywords],
    ) -> Tensor: ...

    @overload
    def encode_document(
        self,
        texts: Text | Iterable[Text],
        *,
        convert_to_tensor: bool = ...,
        convert_to_numpy: Literal[False],
        **options: Unpack[EncodeKeywords],
    ) -> Tensor: ...

    @overload
    def encode_document(
        self,
        texts: Text | Iterable[Text],
        *,
        convert_to_tensor: bool = ...,
        convert_to_numpy: bool = ...,
        **options: Unpack[EncodeKeywords],
    ) -> np.ndarray | Tensor: ...

    def encode_document(
        self, texts: Text | Iterable[Text], **options: object
    ) -> np.ndarray | Tensor:
        """Encode with the stored prompt "document" (else "passage" or "corpus"), if any.

        For example, `encode_document(["Mount Everest is 8,849 m tall."])` returns an array of one
        row. Arguments are those of `encode`.
        """
        return self._encode_as("document", texts, options)

    def _encode_as(
        self,
        role: Literal["query", "document"],
        texts: Text | Iterable[Text],
        options: dict[str, Any],
    ) -> np.ndarray | Tensor:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            options = {**options, "prompt": self.role_prompt(role)}
        found: np.ndarray | Tensor = self.encode(texts, **options)
        return found

    def similarity(self, a: object, b: object) -> Tensor:
        """Compute similarities (n, m) of (n, D) and (m, D): cosines, or what the folder says.

        A folder from elsewhere may name another function (`similarity_fn_name`).

        For example, `similarity(queries, documents)[0].argmax()` is the best document of the first
        query.
        """
        return similarity_of(a, b, self.options.similarity)

    def similarity_pairwise(self, a: object, b: object) -> Tensor:
        """Compute the similarity (n,) of row i of `a` with row i of `b`, see `similarity`."""
        return similarity_of(a, b, self.options.similarity, pairwise=True)

    @property
    def similarity_fn_name(self) -> str:
        """Name of the function that `similarity` computes, for example "cosine"."""
        return self.options.similarity
