"""Weights of experts in blocks of 8 bits: what is stored, and what a graph with them computes."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.exports.graphs.int8_weights import BLOCK, quantize_experts, rounded


def test_each_block_has_its_own_scale() -> None:
    weights = np.random.default_rng(0).normal(size=(3, 8, 2 * BLOCK)).astype(np.float32)
    weights[1, 2, :BLOCK] *= 1000
    weights[2] = 0
    whole, scales = rounded(weights)
    assert whole.dtype == np.int8 and whole.shape == (3, 8, 2, BLOCK) and scales.shape == (3, 8, 2, 1)
    again = (whole * scales).reshape(weights.shape)
    assert (np.abs(again - weights) <= np.repeat(scales[..., 0], BLOCK, 2) / 2 + 1e-6).all()
    assert np.abs(again[1, 2, BLOCK:] - weights[1, 2, BLOCK:]).max() < 0.02  # the large block leaves its neighbor alone
    odd = rounded(weights[:, :, : BLOCK + 5])
    assert odd[0].shape == (3, 8, 1, BLOCK + 5)


@pytest.mark.parametrize("op", ["Gather", "GatherND"])
@pytest.mark.parametrize("width", [64, 32])
def test_a_graph_selects_and_multiplies_them(op: str, width: int) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    helper = onnx.helper
    weights = np.random.default_rng(1).normal(size=(4, 40, 64)).astype(np.float32)
    places = np.array([3, 0, 3, 1, 2], dtype=np.int64)
    given = places if op == "Gather" else places[:, None]
    graph = helper.make_graph(
        [helper.make_node(op, ["experts", "places"], ["chosen"], name="select")],
        "experts",
        [helper.make_tensor_value_info("places", onnx.TensorProto.INT64, list(given.shape))],
        [helper.make_tensor_value_info("chosen", onnx.TensorProto.FLOAT, [5, 40, 64])],
        [onnx.numpy_helper.from_array(weights, "experts")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    quantize_experts(model.graph, width)
    onnx.checker.check_model(model)
    (found,) = ReferenceEvaluator(model).run(None, {"places": given})
    if width < 64:  # more inputs than the width: left as they are
        assert np.array_equal(found, weights[places])
        return
    assert found.shape == (5, 40, 64) and 0 < np.abs(found - weights[places]).max() < 0.02
    assert {each.name for each in model.graph.initializer} >= {"experts_Q8", "experts_scales"}
    assert "experts" not in {each.name for each in model.graph.initializer}
