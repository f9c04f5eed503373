"""The forms of an int8 graph: sizes of blocks, and what rounding adds. `test_bare_graph.py` runs OpenVINO."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bothways.encoder.batch import TokenRow
from bothways.exports.graphs.short import int8_graph
from bothways.exports.graphs.short.int8_graph import GraphAccount, block, changes


@pytest.mark.parametrize(
    ("inputs", "sizes"), [(576, (64, 32, 0)), (64, (64, 32, 0)), (96, (32, 32, 0)), (32, (32, 32, 0)), (48, (0, 0, 0))]
)
def test_a_row_that_cannot_be_divided_gets_a_finer_form(inputs: int, sizes: tuple[int, ...]) -> None:
    assert tuple(block(form, inputs) for form in int8_graph.COSTS) == sizes


def rounded(rows: Tensor, size: int) -> Tensor:
    found = rows.detach().double().clone()
    for row in found:
        for part in row.split(size):
            scale = part.abs().max() / 127
            part.copy_((part / scale).round() * scale)
    return found.float()


@pytest.mark.parametrize(("inputs", "rounds"), [(128, True), (96, False), (48, False)])
def test_what_rounding_adds(inputs: int, rounds: bool) -> None:
    torch.manual_seed(0)
    layer, given = nn.Linear(inputs, 8), torch.randn(2, 3, inputs)
    of_weight, of_inputs = changes(layer, given)
    flat = given.flatten(0, 1)
    size = block("one", inputs)
    weight = rounded(layer.weight, size) if size else layer.weight
    wanted = nn.functional.linear(flat, weight - layer.weight)
    assert torch.allclose(of_weight, wanted, atol=1e-6) and bool((of_weight != 0).any()) == bool(size)
    other = rounded(flat, 64) if rounds else flat
    assert torch.allclose(of_inputs, nn.functional.linear(other - flat, weight), atol=1e-6)
    assert bool((of_inputs != 0).any()) == rounds


def test_texts_are_measured_in_few_batches_and_keep_their_places() -> None:
    shapes: list[tuple[int, ...]] = []

    def run(*arrays: np.ndarray) -> np.ndarray:
        shapes.append(arrays[0].shape)
        found: np.ndarray = (arrays[0] * arrays[1]).sum(1, keepdims=True).astype(np.float32)
        return found

    lengths = [5, 1, 64, 9, 30, 2, 33, 5]
    rows = [TokenRow([n + 1] * size, [True] * size, [(0, 0)] * size) for n, size in enumerate(lengths)]
    found = int8_graph._graph_vectors(run, rows, 64)
    assert found[:, 0].tolist() == [(n + 1) * size for n, size in enumerate(lengths)]
    assert len(shapes) == 4 and all(texts * size <= 64 for texts, size in shapes)


def test_the_account() -> None:
    good = GraphAccount({"one": 0.75, "float32": 0.25}, [0.999, 0.981])
    assert not good.ok and good.least == 0.981, "the mean is too low"
    assert GraphAccount({"one": 1.0}, [1.0] * 9 + [0.981]).ok
    assert not GraphAccount({"one": 1.0}, [1.0] * 9 + [0.979]).ok
    assert str(good).startswith("75% of the weights are int8 with int8 inputs, 0% with float32 inputs, 25% are float32")
