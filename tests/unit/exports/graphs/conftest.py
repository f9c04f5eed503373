"""A runtime of graphs that is torch itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bothways.exports.graphs import onnx_graph
from bothways.exports.graphs.padded_encoder import PaddedEncoder


@pytest.fixture
def torch_runtime(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Run graphs by torch. The list's number is added to every vector, as a broken runtime
    would.
    """
    off = [0.0]
    graphs: dict[str, PaddedEncoder] = {}

    def write(module: PaddedEncoder, folder: Path, name: str) -> None:
        (folder / onnx_graph.GRAPH).write_text(str(len(graphs)))
        graphs[str(len(graphs))] = module

    def open_run(file: Path, threads: int | None) -> Any:
        module = graphs[file.read_text()]

        def run(*arrays: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return module(*map(torch.from_numpy, arrays))[-1].numpy() + off[0]

        return run

    monkeypatch.setattr(onnx_graph, "needs", lambda: None)
    monkeypatch.setattr(onnx_graph, "write", write)
    monkeypatch.setattr(onnx_graph, "open_run", open_run)
    return off
