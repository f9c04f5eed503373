"""A worker's own parts: the products of the limit, the peak of memory, and requests that fail."""

from __future__ import annotations

import resource
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bothways.bench.worker import Answers, Products, peak_memory


def test_products_are_scaled_to_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only some matrices are held. Here every product takes one second."""
    clock = [0.0]
    plain = torch.nn.functional.linear

    def linear(*given: torch.Tensor) -> torch.Tensor:
        clock[0] += 1.0
        return plain(*given)

    products = Products([(256, 256, 3), (256, 512, 5000)], "float32")
    assert [len(weights) < count for count, weights in products.weights] == [False, True]
    monkeypatch.setattr("torch.nn.functional.linear", linear)
    monkeypatch.setattr("bothways.bench.worker.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert products.seconds(4) == pytest.approx(5003)


def test_products_count_every_shape() -> None:
    products = Products([(8, 16, 3), (16, 8, 2)], "bfloat16")
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
