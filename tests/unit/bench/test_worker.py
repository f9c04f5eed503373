"""A worker's own parts: the products of the limit, the peak of memory, and requests that fail."""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest

from bothways.bench.worker import Answers, _Products, peak_memory


def test_products_grow_with_the_number_of_matrices() -> None:
    """Only some matrices are held, so their time is scaled to the whole number."""
    one, many = _Products([(256, 256, 2)], "float32"), _Products([(256, 256, 2000)], "float32")
    assert len(many.weights[0][1]) < 2000, "held in little memory"
    ratio = np.median([many.seconds(64) for _ in range(7)]) / np.median([one.seconds(64) for _ in range(7)])
    assert 250 < ratio < 4000


def test_products_count_every_shape() -> None:
    products = _Products([(8, 16, 3), (16, 8, 2)], "bfloat16")
    assert [(count, weights[0].shape, len(weights)) for count, weights in products.weights] == [
        (3, (16, 8), 3),
        (2, (8, 16), 2),
    ]
    assert products.seconds(4) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_of_the_process_alone() -> None:
    """A child of a large process starts with its parent's peak in getrusage."""
    held = np.ones(2**25)  # 256 MiB
    code = "from bothways.bench.worker import peak_memory; print(peak_memory())"
    child = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert child < held.nbytes < peak_memory() <= 1.1 * 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_an_error_is_an_answer() -> None:
    answers = Answers({"loader": "llm2vec", "folder": "/nowhere", "dtype": "float32", "batch": 8, "threads": 1})
    assert "error" in answers.answer({"do": "open"})
    assert answers.answer({"do": "nothing"})["error"].startswith("AttributeError")
