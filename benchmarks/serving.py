"""Measures each family in each server and writes the table of docs/serving.md. Run by `make
exports`.

    python benchmarks/serving.py                       measures the cells that serving.json lacks
    python benchmarks/serving.py --again --only onnx   measures all ONNX cells again
    python benchmarks/serving.py --table               measures nothing

Each command then writes the table from serving.json. Every cell goes through `bw.export`, on small
random models and on SmolLM2-135M with its weights, and is one of these:

- the lowest cosine of `bw.verify_export` over the stored texts, alone and in a batch
- "by rule", if `verify_rules` finds that the files follow the rules of a server that does not run here
- "refused", with the message of `bw.export`

A graph without a figure is "checked when written": an export to ONNX or OpenVINO compares itself
with the encoder, and is refused below the bar. Tracing takes most of the time, so graphs come last.
Cells of vLLM, TEI and llm2vec that serving.json does not have are those of the tables of families that
`bw.export` reads, and so are refusals of llama.cpp.

The column "read causally" is the cosine that a loader would give if it ignored the direction. A
figure near 1 can only be trusted if this one is far from 1. The table is not written if a figure
could be a causal loader's. Cells are stored in serving.json as they are measured, so a run may be
interrupted. llm2vec runs in an environment of its own, named by LLM2VEC_PYTHON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bothways as bw
from bothways.backbone.family import zoo
from bothways.errors import BothwaysError, MissingExtra, UnsupportedFamily
from bothways.exports.folders import folder_loaders, folder_verify, llm2vec_folder
from bothways.exports.folders.llm2vec_folder import PACKAGE
from bothways.exports.gguf.gguf_families import FAMILIES, REFUSED
from bothways.exports.graphs import onnx_graph
from bothways.exports.manifest import BARS
from bothways.exports.reference import TEXTS, cosine
from bothways.exports.servers.server_rules import SERVERS
from bothways.exports.verify import verify_rules

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from export_models import small_model

PAGE = Path(__file__).parents[1] / "docs" / "serving.md"
CELLS = Path(__file__).with_name("serving.json")
START, END = "<!-- table: benchmarks/serving.py -->", "<!-- end of table -->"
REAL = "smollm2-135m"
PACKAGES = {
    "gguf": "xllamacpp",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "sentence-transformers": "sentence-transformers",
}
"""Packages of the targets that run in this environment."""
CAUSAL = "read causally"
COLUMNS = {
    "gguf f32": "llama.cpp",
    "onnx f32": "ONNX",
    "onnx int8": "ONNX int8",
    "openvino f32": "OpenVINO",
    "openvino int8": "OpenVINO int8",
    "sentence-transformers f32": "sentence-transformers",
    "vllm f32": "vLLM",
    "tei f32": "TEI",
    "llm2vec f32": "llm2vec",
}
GRAPHS = tuple(key for key in COLUMNS if key.split()[0] in ("onnx", "openvino"))
WHEN_WRITTEN = "checked when written"
TARGETS = tuple(dict.fromkeys(key.split()[0] for key in COLUMNS))
BY_RULE = "by rule"


def title(target: str) -> str:
    """Return the name and version of a target's loader."""
    if target in SERVERS:
        return f"{SERVERS[target].title} (rules)"
    return PACKAGE if target == "llm2vec" else f"{PACKAGES[target]} {version(PACKAGES[target])}"


def families() -> list[str]:
    """Return the families of the table: all that a server or llama.cpp has a rule for."""
    rules = {kind for server in SERVERS.values() for kind in (*server.families, *server.refused)}
    return sorted({*FAMILIES, *REFUSED, *rules})


def measure(encoder: bw.Encoder, kind: str, to: str, dtype: str) -> str:
    """Return the lowest cosine with six digits, "by rule", or "refused: " and the reason.

    Raises:
        BothwaysError: if a loader is not installed, or cannot run what was exported.
        ValueError: if the files break a rule of their server.
    """
    with tempfile.TemporaryDirectory() as place:
        try:
            out = bw.export(encoder, Path(place) / "out", to=to, dtype=dtype, name=kind)
        except MissingExtra:
            raise
        except BothwaysError as error:
            return f"refused: {reason(str(error), kind)}"
        if to not in SERVERS:
            return f"{min(each.cosine for each in bw.verify_export(out)):.6f}"
        if broken := [rule.fault for rule in verify_rules(out) if not rule.ok]:
            raise ValueError(f"{kind}, {to}: {broken[0]}")
        return BY_RULE if SERVERS[to].families[kind].architecture else f"{BY_RULE}, as Llama"


def reason(message: str, name: str) -> str:
    """Return the reason of a refusal without the names of the model and its family.

    For example, "gpt2: gpt2 is refused for tei; TEI 1.9 does not …" gives "TEI 1.9 does not …".
    """
    said = message.removeprefix("export: ").replace(f"{name}: ", "").partition("; measured: ")[0]
    if " is refused for " in said:
        said = said.partition("; ")[2]
    said = said.removeprefix(f"{name} ").removeprefix(f"this {name} ")
    return f"it {said}" if said.startswith(("has ", "cannot ")) else said


def by_data(kind: str) -> dict[str, str]:
    """Return the cells of a family that follow from the tables that `bw.export` reads.

    Without a figure, they stand for it: "by rule", "refused: " and the reason, or "checked when written".
    """
    family = "llama" if kind == REAL else kind
    row = dict.fromkeys(GRAPHS, WHEN_WRITTEN)
    for target, server in SERVERS.items():
        form = server.families.get(family)
        refusal = f"refused: {server.refused.get(family, server.otherwise)}"
        row[f"{target} f32"] = refusal if form is None else BY_RULE if form.architecture else f"{BY_RULE}, as Llama"
    if family in llm2vec_folder.FAMILIES:
        row["llm2vec f32"] = BY_RULE
    elif family in llm2vec_folder.WRITTEN_AS_LLAMA:
        row["llm2vec f32"] = f"{BY_RULE}, as Llama"
    else:
        runs = ", ".join((*llm2vec_folder.FAMILIES, *llm2vec_folder.WRITTEN_AS_LLAMA))
        row["llm2vec f32"] = f"refused: {PACKAGE} runs {runs} in both directions"
    if family not in {*FAMILIES, *REFUSED}:
        row["gguf f32"] = "refused: it has not been measured in llama.cpp, so it is not exported to GGUF"
    return row


def causal_instead(encoder: bw.Encoder, model: str | Path) -> str:
    """Return the lowest cosine over the stored texts if the model were read causally."""
    texts = list(TEXTS.values())
    causal = bw.convert(model, dtype="float32", device="cpu", direction="causal").encode(texts)
    return f"{min(cosine(a, b) for a, b in zip(encoder.encode(texts), causal, strict=True)):.6f}"


def two_layers(kind: str) -> dict[str, Any]:
    """Return fields for a small model of two layers, which halves the time to trace it.

    There are none if its layers are of several kinds.
    """
    config = zoo.small_config(kind)
    several = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    return {} if several else {"num_hidden_layers": 2}


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


def run_here(python: str, folder: Path, loader: str, rows: list[dict[str, Any]], *, trust: bool = False) -> dict[str, Any]:
    """Run a loader of this Python in this process, which saves two imports of torch for each cell.

    Loaders of other Pythons run as `verify_export` runs them.
    """
    if python != sys.executable:
        return elsewhere(python, folder, loader, rows, trust=trust)
    vectors = [folder_loaders.LOADERS[loader](str(folder), rows, batch, trust) for batch in (1, len(rows))]
    return {"versions": {loader: version(loader)}, "vectors": vectors}


elsewhere = folder_verify.run


def fill(cells: dict[str, dict[str, str]], targets: Sequence[str], chosen: Sequence[str], *, again: bool) -> None:
    """Measure the missing cells, and store each family when it is finished. Graphs come last."""
    for keys in ([key for key in COLUMNS if key not in GRAPHS], GRAPHS):
        for kind in [kind for kind in (REAL, *families()) if not chosen or kind in chosen]:
            row = cells.setdefault(kind, {})
            wanted = [key for key in keys if key.split()[0] in targets and (again or key not in row)]
            if wanted or CAUSAL not in row:
                row |= measured(kind, wanted)
                sys.stdout.write(f"{kind} { ({key: row[key] for key in (CAUSAL, *wanted)}) }\n")
                sys.stdout.flush()
                keep(cells)


def measured(kind: str, wanted: Sequence[str]) -> dict[str, str]:
    """Measure cells of one family, and the cosine that a causal loader would give."""
    with tempfile.TemporaryDirectory() as place:
        model = REAL if kind == REAL else small_model(Path(place) / kind, kind, **two_layers(kind))
        try:
            encoder = bw.convert(model, dtype="float32", device="cpu")
        except UnsupportedFamily as error:
            return dict.fromkeys((CAUSAL, *COLUMNS), f"refused: {reason(str(error), kind)}")
        row = {CAUSAL: causal_instead(encoder, model)}
        real, onnx_graph.write = onnx_graph.write, traced_once(Path(place) / "graph")  # type: ignore[assignment]
        try:
            for key in wanted:
                row[key] = measure(encoder, "llama" if kind == REAL else kind, *key.split())
        finally:
            onnx_graph.write = real
    return row


def keep(cells: dict[str, dict[str, str]]) -> None:
    """Write the cells."""
    CELLS.write_text(json.dumps(cells, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def table(cells: dict[str, dict[str, str]]) -> str:
    """Return the table: a row for each family, a column for each server, and the reasons of
    refusals.

    Raises:
        KeyError: if a cell is missing.
    """
    reasons: list[str] = []
    heads = [CAUSAL, *COLUMNS.values()]
    lines = [f"| family | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 1)]
    for kind in [REAL, *families()]:
        texts = []
        row = by_data(kind) | cells[kind]
        for cell in (row[key] for key in (CAUSAL, *COLUMNS)):
            if cell.startswith("refused: "):
                said = cell.removeprefix("refused: ").replace("|", "/").replace("\n", " ")
                if said not in reasons:
                    reasons.append(said)
                cell = f"refused ({reasons.index(said) + 1})"
            texts.append(cell)
        lines.append(f"| {kind} | {' | '.join(texts)} |")
    return "\n".join([*lines, "", "Refused because:", "", *(f"{place}. {said}" for place, said in enumerate(reasons, 1))])


def too_low(cells: dict[str, dict[str, str]]) -> list[str]:
    """Return the measured cells below the bar of their type, or nearer to a causal loader's cosine
    than to 1.
    """
    wrong = []
    for kind, row in cells.items():
        causal = float("nan" if row[CAUSAL].startswith("refused") else row[CAUSAL])
        for key in COLUMNS:
            if not row.get(key, "")[:1].isdigit():
                continue
            figure, bar = float(row[key]), BARS[key.split()[1]]
            if not (figure >= bar and 1 - figure < figure - causal):
                wrong.append(f"{kind}, {key}: {figure} (causally {causal}, at least {bar} is needed)")
    return wrong


def main() -> None:
    """Measure, keep, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(TARGETS), help="targets to measure, with commas between them")
    parser.add_argument("--families", default="", help="families to measure, with commas between them; all if empty")
    parser.add_argument("--again", action="store_true", help="measure cells that are there too")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    folder_verify.run = run_here  # type: ignore[assignment]
    cells: dict[str, dict[str, str]] = json.loads(CELLS.read_text(encoding="utf-8")) if CELLS.exists() else {}
    if not given.table:
        targets = given.only.split(",")
        if "llm2vec" in targets and not os.environ.get(folder_verify.VARIABLE):
            sys.exit(f"llm2vec runs in an environment of its own: set {folder_verify.VARIABLE}=PYTHON, or use make exports")
        sys.stdout.write(", ".join(title(target) for target in targets) + "\n")
        fill(cells, targets, [kind for kind in given.families.split(",") if kind], again=given.again)
    missing = [kind for kind in (REAL, *families()) if not {CAUSAL, *COLUMNS} <= {*by_data(kind), *cells.get(kind, ())}]
    if missing:
        sys.exit(f"the table was not written, because cells are missing: {', '.join(missing)}")
    if wrong := too_low(cells):
        sys.exit("the table was not written, because these cells are too low:\n" + "\n".join(wrong))
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    PAGE.write_text(f"{before}{START}\n\n{table(cells)}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
