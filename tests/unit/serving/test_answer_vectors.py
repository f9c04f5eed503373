"""Vectors of an answer: cut, scaled, quantized and written, against numpy and sentence-transformers."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
from sentence_transformers.util import quantize_embeddings

from bothways.errors import InputError
from bothways.serving.answer_vectors import check, finished, ranges_of, written

VECTORS = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dimensions", [None, 8])
def test_the_cut_comes_before_the_length(dimensions: int | None, normalize: bool) -> None:
    found = finished(list(VECTORS), dimensions=dimensions, normalize=normalize)
    kept = VECTORS[:, :dimensions].astype(np.float64)
    expected = kept / np.linalg.norm(kept, axis=1, keepdims=True) if normalize else kept
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_whole_numbers_use_ranges_that_do_not_depend_on_the_request() -> None:
    ranges = ranges_of(VECTORS, 8, normalize=False)
    np.testing.assert_array_equal(ranges, [VECTORS[:, :8].min(0), VECTORS[:, :8].max(0)])
    together = finished(list(VECTORS), dimensions=8, normalize=False, precision="int8", ranges=ranges)
    alone = [finished([vector], dimensions=8, normalize=False, precision="int8", ranges=ranges)[0] for vector in VECTORS]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, quantize_embeddings(VECTORS[:, :8], precision="int8", ranges=ranges))
    assert together.dtype == np.int8 and (together.min(), together.max()) == (-128, 127)


def test_signs_are_packed_into_bytes() -> None:
    found = finished(list(VECTORS), dimensions=None, normalize=False, precision="ubinary")
    np.testing.assert_array_equal(np.unpackbits(found, axis=1), VECTORS > 0)


def test_base64_is_float32_in_little_endian_order_and_whole_numbers_are_lists() -> None:
    texts = written(VECTORS, "base64")
    np.testing.assert_array_equal([np.frombuffer(base64.b64decode(text), "<f4") for text in texts], VECTORS)
    assert written(VECTORS, None) == written(VECTORS, "float") == VECTORS.tolist()
    assert written(np.array([[1, -2]], dtype=np.int8), "base64") == [[1, -2]]


@pytest.mark.parametrize(
    ("dimensions", "precision", "message"),
    [
        (17, "float32", "dimensions: must be at most 16, the numbers of a vector of this model (got 17)"),
        (None, "int8", "precision: 'int8' scales numbers by their ranges"),
        (12, "binary", "dimensions: 'binary' packs 8 numbers into a byte, so they must be a multiple of 8 (got 12)"),
    ],
)
def test_what_a_vector_cannot_give_is_refused(dimensions: int | None, precision, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        check(dimensions, precision, 16, ranges=False)
    check(8, "int8", 16, ranges=True)
    check(16, "ubinary", 16, ranges=False)
