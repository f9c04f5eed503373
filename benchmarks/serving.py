"""Measures each family in each server and writes the table of docs/serving.md. Run by `make
exports`.

    python benchmarks/serving.py                       measures the cells that serving.json lacks
    python benchmarks/serving.py --again --only onnx   measures all ONNX cells again
    python benchmarks/serving.py --table               measures nothing

Each command then writes the table from serving.json and the rules. Every figure goes through
`bw.export` and `bw.verify_export`, on small random models and on SmolLM2-135M with its weights. It
is the lowest cosine over the stored texts, alone and in a batch. Cells are stored in serving.json
as they are measured, so a run may be interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bothways as bw
from bothways.backbone.family import zoo
from bothways.errors import BothwaysError
from bothways.exports.folders.llm2vec_folder import FAMILIES as LLM2VEC
from bothways.exports.folders.llm2vec_folder import WRITTEN_AS_LLAMA
from bothways.exports.gguf.gguf_families import FAMILIES, REFUSED
from bothways.exports.graphs import onnx_graph
from bothways.exports.servers.server_rules import SERVERS, TEI, VLLM, Server

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from export_models import small_model

PAGE = Path(__file__).parents[1] / "docs" / "serving.md"
CELLS = Path(__file__).with_name("serving.json")
START, END = "<!-- table: benchmarks/serving.py -->", "<!-- end of table -->"
REAL = "smollm2-135m"
GRAPHS = ("gptj", "helium", "mixtral", "olmo3", "qwen3_moe")
"""Families of the graphs that are not in llama.cpp's list."""
PACKAGES = {
    "gguf": "xllamacpp",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "sentence-transformers": "sentence-transformers",
}
COLUMNS = {
    "gguf f32": "llama.cpp",
    "onnx f32": "ONNX",
    "onnx int8": "ONNX int8",
    "openvino f32": "OpenVINO",
    "openvino int8": "OpenVINO int8",
    "sentence-transformers f32": "sentence-transformers",
}


def measured_families(target: str) -> list[str]:
    """Return the families that a target is measured with."""
    if target == "gguf":
        return sorted({*FAMILIES, *REFUSED})
    return sorted({*FAMILIES, *REFUSED, *GRAPHS})


def measure(model: str | Path, to: str, dtype: str) -> str:
    """Return the lowest cosine with six digits, or "refused: " and the reason."""
    try:
        with tempfile.TemporaryDirectory() as place:
            out = bw.export(model, Path(place) / "out", to=to, dtype=dtype)
            return f"{min(each.cosine for each in bw.verify_export(out)):.6f}"
    except BothwaysError as error:
        name = Path(model).name
        return "refused: " + str(error).removeprefix("export: ").removeprefix(f"{name}: ").replace(f"{name}: ", "")


def two_layers(kind: str) -> dict[str, Any]:
    """Return fields for a small model of two layers, which halves the time to trace it.

    There are none if its layers are of several kinds.
    """
    return {} if getattr(zoo.small_config(kind), "layer_types", None) else {"num_hidden_layers": 2}


def traced_once(folder: Path) -> Callable[..., None]:
    """Return a replacement for `onnx_graph.write` that traces a model once, then copies its
    files.
    """
    real = onnx_graph.write

    def write(module: Any, out: Path, name: str) -> None:
        if not (folder / onnx_graph.GRAPH).exists():
            folder.mkdir(exist_ok=True)
            real(module, folder, name)
        for file in folder.iterdir():
            shutil.copy(file, out)

    return write


def fill(cells: dict[str, dict[str, str]], targets: Sequence[str], families: Sequence[str], *, again: bool) -> None:
    """Measure the missing cells, and store each family when it is finished."""
    kinds = [REAL, *sorted({kind for target in targets for kind in measured_families(target)})]
    for kind in [kind for kind in kinds if not families or kind in families]:
        row = cells.setdefault(kind, {})
        wanted = [key.split() for key in COLUMNS if key.split()[0] in targets and (again or key not in row)]
        wanted = [(to, dtype) for to, dtype in wanted if kind == REAL or kind in measured_families(to)]
        with tempfile.TemporaryDirectory() as place:
            model = REAL if kind == REAL else small_model(Path(place) / kind, kind, **two_layers(kind)) if wanted else ""
            real, onnx_graph.write = onnx_graph.write, traced_once(Path(place) / "graph")  # type: ignore[assignment]
            try:
                for to, dtype in wanted:
                    row[f"{to} {dtype}"] = measure(model, to, dtype)
            finally:
                onnx_graph.write = real
        if wanted:
            sys.stdout.write(f"{kind} {row}\n")
            sys.stdout.flush()
            keep(cells)


def keep(cells: dict[str, dict[str, str]]) -> None:
    """Write the cells."""
    CELLS.write_text(json.dumps(cells, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def by_rule(server: Server, kind: str) -> str:
    """Return the cell of a server by its rules."""
    family = server.families.get(kind)
    if family is None:
        return f"refused: {server.refused.get(kind, server.otherwise)}"
    return "by rule, as Llama" if family.architecture is None else "by rule"


def llm2vec(kind: str) -> str:
    """Return the cell of llm2vec by its classes."""
    if kind in LLM2VEC:
        return "by rule"
    return "by rule, as Llama" if kind in WRITTEN_AS_LLAMA else "refused: llm2vec 0.2.3 has no class for the family"


def table(cells: dict[str, dict[str, str]]) -> str:
    """Return the table: a row for each family, a column for each server, and the reasons of
    refusals.
    """
    kinds = sorted(
        {kind for server in SERVERS.values() for kind in (*server.families, *server.refused)} | (set(cells) - {REAL})
    )
    reasons: list[str] = []
    lines = [f"| family | {' | '.join(COLUMNS.values())} | vLLM | TEI | llm2vec |", "|" + "---|" * (len(COLUMNS) + 4)]
    for kind in [REAL, *kinds]:
        family = "llama" if kind == REAL else kind
        found = [cells.get(kind, {}).get(key, "–") for key in COLUMNS]
        found += [by_rule(VLLM, family), by_rule(TEI, family), llm2vec(family)]
        texts = []
        for cell in found:
            if cell.startswith("refused: "):
                reason = cell.removeprefix("refused: ").replace("|", "/").replace("\n", " ")
                if reason not in reasons:
                    reasons.append(reason)
                cell = f"refused ({reasons.index(reason) + 1})"
            texts.append(cell)
        lines.append(f"| {kind} | {' | '.join(texts)} |")
    return "\n".join([*lines, "", "Refused because:", "", *(f"{place}. {reason}" for place, reason in enumerate(reasons, 1))])


def main() -> None:
    """Measure, keep, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PACKAGES), help="targets to measure, with commas between them")
    parser.add_argument("--families", default="", help="families to measure, with commas between them; all if empty")
    parser.add_argument("--again", action="store_true", help="measure cells that are there too")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    cells: dict[str, dict[str, str]] = json.loads(CELLS.read_text(encoding="utf-8")) if CELLS.exists() else {}
    if not given.table:
        targets = given.only.split(",")
        sys.stdout.write(", ".join(f"{PACKAGES[target]} {version(PACKAGES[target])}" for target in targets) + "\n")
        fill(cells, targets, [kind for kind in given.families.split(",") if kind], again=given.again)
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    PAGE.write_text(f"{before}{START}\n\n{table(cells)}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
