"""The table of docs/serving.md: every cell is measured, by rule or refused, and none is silently causal."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

import bothways as bw
from bothways.exports.export import TARGETS
from bothways.exports.gguf.llama_cpp import LoaderError
from bothways.exports.servers.server_rules import SERVERS
from export_models import small_model

FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "serving.py"
Cells = dict[str, dict[str, str]]


def measured(cell: str) -> bool:
    return cell[:1].isdigit()


@pytest.fixture(scope="module")
def serving() -> ModuleType:
    spec = importlib.util.spec_from_file_location("serving_benchmark", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cells(serving: ModuleType) -> Cells:
    return json.loads(serving.CELLS.read_text(encoding="utf-8"))


def test_the_page_has_this_table(serving: ModuleType, cells: Cells) -> None:
    assert serving.table(cells) in serving.PAGE.read_text(encoding="utf-8"), "run python benchmarks/serving.py --table"


def test_no_cell_is_empty(serving: ModuleType, cells: Cells) -> None:
    assert set(cells) == {serving.REAL, *serving.families()}
    assert {*serving.TARGETS, "ollama"} == set(TARGETS)  # Ollama reads the files of llama.cpp
    for kind, row in cells.items():
        whole = serving.by_data(kind) | row
        assert set(whole) == {serving.CAUSAL, *serving.COLUMNS}, kind
        for key, cell in whole.items():
            also = "|by rule(, as Llama)?" if key.split()[0] in {*SERVERS, "llm2vec"} else ""
            also = "|checked when written" if key in serving.GRAPHS else also
            assert re.fullmatch(rf"[01]\.\d{{6}}|refused: .{{20,}}{also}", cell), (kind, key, cell)


def test_enough_families_are_measured(serving: ModuleType, cells: Cells) -> None:
    for key in ("gguf f32", "onnx f32", "openvino f32", "sentence-transformers f32"):
        assert sum(measured(row.get(key, "")) for kind, row in cells.items() if kind != serving.REAL) >= 20, key
    assert all(measured(cells[serving.REAL][key]) for key in serving.COLUMNS if key.split()[0] in serving.PACKAGES)


def test_no_cell_is_causal(serving: ModuleType, cells: Cells) -> None:
    assert serving.too_low(cells) == []
    for key in serving.COLUMNS:  # a loader that reads a family causally would be seen in each cell
        for kind, row in cells.items():
            if measured(row.get(key, "")):
                broken = copy.deepcopy(cells)
                broken[kind][key] = row[serving.CAUSAL]
                assert len(serving.too_low(broken)) == 1, (kind, key)


def test_the_causal_figure_is_of_the_causal_model(serving: ModuleType, cells: Cells, tmp_path: Path) -> None:
    model = small_model(tmp_path / "llama", "llama", **serving.two_layers("llama"))
    encoder = bw.convert(model, dtype="float32", device="cpu")
    assert float(serving.causal_instead(encoder, model)) == pytest.approx(float(cells["llama"][serving.CAUSAL]), abs=1e-4)


def test_a_cell_by_rule_and_refusals(serving: ModuleType, tmp_path: Path) -> None:
    """Of one small model, as the script writes them."""
    llama, gpt2 = (
        bw.convert(small_model(tmp_path / kind, kind, **serving.two_layers(kind)), dtype="float32", device="cpu")
        for kind in ("llama", "gpt2")
    )
    assert serving.measure(llama, "llama", "vllm", "f32") == serving.by_data("llama")["vllm f32"] == "by rule"
    for target in ("vllm", "tei", "llm2vec"):
        refused = serving.measure(gpt2, "gpt2", target, "f32")
        assert refused.startswith("refused: ") and refused == serving.by_data("gpt2")[f"{target} f32"]
    apertus = bw.convert(small_model(tmp_path / "apertus", "apertus"), dtype="float32", device="cpu")
    assert serving.measure(apertus, "apertus", "gguf", "f32") == serving.by_data("apertus")["gguf f32"]


def test_a_loader_that_fails_is_not_a_refusal(serving: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise LoaderError("cannot run it")

    monkeypatch.setattr(serving.bw, "verify_export", fails)
    encoder = bw.convert(small_model(tmp_path / "llama", "llama"), dtype="float32", device="cpu")
    with pytest.raises(LoaderError):
        serving.measure(encoder, "llama", "sentence-transformers", "f32")
