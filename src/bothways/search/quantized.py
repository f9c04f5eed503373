"""Search over documents that are kept as int8 or as signs, with candidates that are scored again.

A vector of 576 numbers takes 2,304 bytes in float32, 576 in int8 and 72 as signs. A query stays in
float32. Documents in int8 are scored by it directly. Signs are compared with the query's own signs
first (the Hamming distance), and then the nearest of them, a multiple of what is wanted, are scored
by the query's numbers. The nearest by signs that are scored with the signs themselves are the
"rescoring" of sentence-transformers' `semantic_search_faiss`, after Yamada et al. 2021
(https://arxiv.org/abs/2106.00882). Documents in int8 or float32 may be kept for this as well, which
a search reads for the candidates alone.

All rankings are exact for the vectors that are kept: the result is that of a loop over all
documents, and of equal scores the earlier document comes first.

Letters: q queries, N documents, D numbers, K wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from bothways.errors import InputError
from bothways.nearest import meant
from bothways.search.dense import DenseIndex
from bothways.search.vector_shards import Shards
from bothways.similarity_names import Similarity

DocumentPrecision = Literal["float32", "int8", "binary"]

LEVELS = 255  # steps between the smallest and the largest number of a dimension in int8


@dataclass(frozen=True)
class Quantization:
    """How documents are kept for a search, and how candidates are scored again.

    For example, `Quantization("binary", rescore=4)` scores the 4 K nearest by signs again.

    Attributes:
        precision: "float32", "int8" (a byte for a number) or "binary" (a bit).
        rescore: score this many times K candidates again by the query in float32. If None, none.
        rescore_with: precision of the documents for that, "int8" or "float32", which are kept as
            well. If None, the signs.
    """

    precision: DocumentPrecision = "float32"
    rescore: int | None = None
    rescore_with: Literal["int8", "float32"] | None = None

    def __post_init__(self) -> None:
        if self.precision not in get_args(DocumentPrecision):
            names = get_args(DocumentPrecision)
            raise InputError(
                f"precision: {self.precision!r} is unknown; {meant(self.precision, names)}choose one of {', '.join(names)}"
            )
        if self.rescore is not None and self.rescore < 1:
            raise InputError(
                f"rescore: must be at least 1, how many times as many candidates are scored again (got {self.rescore})"
            )
        if self.rescore is not None and self.precision == "float32":
            raise InputError(
                "rescore: vectors in float32 are scored exactly already; leave it out, or set precision to binary or int8"
            )
        if self.rescore_with not in (None, "int8", "float32"):
            raise InputError(
                f"rescore_with: must be int8 or float32 (got {self.rescore_with!r}); leave it out to score the signs"
            )
        if self.rescore is None and self.rescore_with is not None:
            raise InputError(
                "rescore_with: needs rescore, how many times as many candidates are scored again, for example rescore 4"
            )
        if self.precision == "int8" and self.rescore is not None and self.rescore_with != "float32":
            raise InputError(
                "rescore: documents in int8 are scored by the query in float32 already; set rescore_with to float32, or "
                "leave rescore out"
            )

    def __bool__(self) -> bool:
        """Tell if documents are kept in fewer bits than float32 has."""
        return self.precision != "float32"

    def check(self, similarity: Similarity) -> Similarity:
        """Return a similarity by which documents of this precision can be compared.

        Raises:
            InputError: if it is not the cosine and documents are kept in fewer bits.
        """
        if self and similarity != "cosine":
            raise InputError(
                f"similarity: documents in {self.precision} are compared by cosine, not by {similarity}; "
                "choose similarity cosine, or leave precision out"
            )
        return similarity

    def bytes_of(self, width: int) -> int:
        """Return the bytes of one document of D = `width` numbers, in memory for the first search.

        For example, `Quantization("binary").bytes_of(576)` is 72.
        """
        return {"float32": 4 * width, "int8": width, "binary": -(-width // 8)}[self.precision]


NONE = Quantization()


class Codes(Shards):
    """N vectors kept as bytes, and read as float32."""

    def __init__(
        self, codes: np.ndarray, width: int, decode: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        """Keep the codes (N, bytes) of vectors of `width` numbers, and what reads them."""
        super().__init__([codes], max(1, len(codes)))
        self.width = width
        self._decode = decode

    def _floats(self, stored: np.ndarray) -> np.ndarray:
        return self._decode(stored)


def signs(vectors: np.ndarray) -> np.ndarray:
    """Return 1 for numbers above 0, else -1, as float32. These are the bits of "binary"."""
    return np.where(vectors > 0, np.float32(1), np.float32(-1))


class Ranges:
    """The int8 code of each dimension: 256 equal steps between its least and largest number.

    As in sentence-transformers' `quantize_embeddings`, but numbers are rounded to the nearest step
    and not to the one below.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        """Find the ranges of vectors (n, D). Later vectors beyond them get the last step."""
        self.low = vectors.min(axis=0).astype(np.float32)
        step = (vectors.max(axis=0).astype(np.float32) - self.low) / LEVELS
        self.step = np.where(step > 0, step, np.float32(1))

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Return codes (n, D) uint8."""
        steps = np.rint((vectors - self.low) / self.step)
        codes: np.ndarray = np.clip(steps, 0, LEVELS).astype(np.uint8)
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return vectors (n, D) float32."""
        vectors: np.ndarray = codes.astype(np.float32) * self.step + self.low
        return vectors


class QuantizedIndex:
    """Documents in the precision of a `Quantization`, which come block by block."""

    def __init__(self, quantization: Quantization) -> None:
        """Start without documents.

        Args:
            quantization: precision and candidates. It must not be float32.
        """
        self.quantization = quantization
        kept = {quantization.precision, quantization.rescore_with} - {None}
        self._parts: dict[str, list[np.ndarray]] = {str(name): [] for name in kept}
        self._ranges: Ranges | None = None
        self._width = 0

    def add(self, vectors: np.ndarray) -> None:
        """Add documents (n, D) float32. The first block sets the ranges of int8."""
        self._width = vectors.shape[1]
        for name, parts in self._parts.items():
            if name == "binary":
                parts.append(np.packbits(vectors > 0, axis=1))
            elif name == "int8":
                self._ranges = self._ranges or Ranges(vectors)
                parts.append(self._ranges.encode(vectors))
            else:
                parts.append(np.array(vectors, dtype=np.float32))

    def search(self, queries: np.ndarray, depth: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return documents (k,) int64 and scores (k,) float32 of each query, best first.

        Scores are cosines if the vectors have length 1: of the signs of both for "binary" alone,
        else of the query with the document as it is kept.

        Args:
            queries: (q, D) float32.
            depth: K. Fewer documents are returned if there are fewer.

        Raises:
            InputError: if the queries have another width than the documents.
        """
        chosen, first = self.quantization, self._kept(self.quantization.precision)
        binary = chosen.precision == "binary"
        if queries.shape[1] != first.width:
            raise InputError(
                f"query vectors have {queries.shape[1]} dimensions, document vectors {first.width}"
            )
        index = DenseIndex(first, first.count)
        near = index.search(
            signs(queries) if binary else queries, min(depth * (chosen.rescore or 1), first.count)
        )
        if chosen.rescore is None:
            width = np.float32(first.width if binary else 1)
            return [(places, scores / width) for places, scores in near]
        again = self._kept(chosen.rescore_with or chosen.precision)
        length = 1.0 if chosen.rescore_with else first.width**0.5
        return [
            _best(again, query, places, length, depth) for query, (places, _) in zip(queries, near)
        ]

    def _kept(self, name: str) -> Shards:
        parts = self._parts[name]
        if len(parts) > 1:
            parts[:] = [np.concatenate(parts)]
        if name == "binary":
            return Codes(parts[0], self._width, self._unpacked)
        if name == "int8":
            assert self._ranges is not None
            return Codes(parts[0], self._width, self._ranges.decode)
        return Shards(parts, max(1, len(parts[0])))

    def _unpacked(self, codes: np.ndarray) -> np.ndarray:
        return signs(np.unpackbits(codes, axis=1, count=self._width))


def nearest_documents(
    documents: np.ndarray,
    queries: np.ndarray,
    depth: int,
    quantization: Quantization = NONE,
    *,
    similarity: Similarity = "cosine",
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the nearest documents and their scores for each query, best first.

    For example, `nearest(encoder.encode_document(texts), encoder.encode_query(["why?"]), 10,
    Quantization("binary", rescore=4))`.

    Args:
        documents: (N, D) float32, N ≥ 1, of length 1 for cosines.
        queries: (q, D) float32.
        depth: K.
        quantization: how documents are kept.
        similarity: how vectors are compared, see `DenseIndex`.

    Raises:
        InputError: if the queries have another width than the documents, or if documents of this
            precision cannot be compared so.
    """
    quantization.check(similarity)
    if not quantization:
        shards = Shards([documents], len(documents))
        return DenseIndex(shards, len(documents), similarity=similarity).search(queries, depth)
    index = QuantizedIndex(quantization)
    index.add(documents)
    return index.search(queries, depth)


def _best(
    documents: Shards, query: np.ndarray, places: np.ndarray, length: float, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score candidates by a query (D,) in float64, and return the best ones first."""
    products = documents.rows(places).astype(np.float64) @ query.astype(np.float64)
    scores = (products / length).astype(np.float32)
    order = np.lexsort((places, -scores))[:depth]
    return places[order], scores[order]
