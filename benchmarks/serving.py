"""Writes docs/serving.md: each family in each server, measured on small random models. Run by `make exports`.

Prints the table too. The cosine is the least over short, long and Korean texts, alone and in a batch.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import bothways as bw
from bothways.errors import BothwaysError
from bothways.exports.gguf_families import FAMILIES, REFUSED

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from export_models import small_model

PAGE = Path(__file__).parents[1] / "docs" / "serving.md"
HEAD = """# Other servers

`bothways export MODEL --to gguf --out DIR` writes an encoder for llama.cpp and Ollama, and `bothways verify-export DIR`
runs it there and prints the cosine to bothways' own vectors. It exits with 1 below the bar: 0.9999 for f32, 0.999 for f16,
0.99 for q8_0. A family that the server would run in another way is refused.

## What a .gguf file cannot hold

- Prompts. Put them before each text yourself. llama.cpp pools them with the text, so an encoder that leaves prompts out of
  its pooling gives another vector there. The export's README shows the cosine for each prompt.
- A wrapper around every text, BOS that is not pooled, kept sliding windows, and poolings other than mean, last and BOS.
  They are refused.
- A limit. llama.cpp refuses a text that is longer than its batch, where bothways cuts it. The command in the export's
  README makes the batch as long as the encoder's limit.

## ONNX and OpenVINO

`bothways export MODEL --to onnx --out DIR` and `--to openvino` write one graph: token ids, attention mask and pool mask in,
vectors out. Pooling (latent attention too), layers behind it, kept sliding windows and normalization are inside. Batch and length
are free, and texts may be padded at either side. The pool mask is 0 for a prompt's tokens if the encoder leaves them out of its
pooling. `bw.load(DIR)` gives an encoder that tokenizes as the original and runs the graph. `bothways encode`, `search` and
`evaluate` take DIR too. What needs weights (`train`, `convert`, `doctor`) refuses it.

`--quantize int8` rounds weights to 8 bits: in blocks of 32 for ONNX (`MatMulNBits`, whose kernel rounds activations in such
blocks too), and by row for OpenVINO (nncf, activations stay float32). An export compares itself with the encoder before it
appears, and stops below the bar: 0.9999 for f32, 0.99 for int8. A family that torch's exporter cannot trace is refused.

## Old llama.cpp

A llama.cpp from before March 2026 does not know the key for direction. It reads the text causally and says nothing.

## Families in llama.cpp

Measured by `make exports` with small random models, f32, xllamacpp {version}. The cosine is the least over short, long and
Korean texts, alone and in a batch. Real weights: SmolLM2-135M, by `bothways export smollm2-135m --to gguf --dtype TYPE` and
`bothways verify-export`: {real}.

| family | llama.cpp's name | cosine |
|---|---|---|
"""

GRAPHS = """
## Families in ONNX and OpenVINO

Small random models again, onnxruntime {onnxruntime} and openvino {openvino}: the least cosine over short, long and Korean texts,
alone and in a batch.

| family | ONNX f32 | ONNX int8 | OpenVINO f32 | OpenVINO int8 |
|---|---|---|---|---|
"""
WAYS = [(to, dtype) for to in ("onnx", "openvino") for dtype in ("f32", "int8")]


def worst(model: str | Path, dtype: str = "f32", to: str = "gguf") -> float:
    with tempfile.TemporaryDirectory() as place:
        out = bw.export(model, Path(place) / "out", to=to, dtype=dtype)
        return min(each.cosine for each in bw.verify_export(out))


def graph_row(name: str, model: str | Path) -> str:
    cells = []
    for to, dtype in WAYS:
        try:
            cells.append(f"{worst(model, dtype, to):.6f}")
        except BothwaysError as error:
            cells.append(f"refused: {str(error)[:120]}".replace("|", "/"))
    return f"| {name} | {' | '.join(cells)} |"


def graphs() -> str:
    import onnxruntime
    import openvino

    rows = [graph_row("smollm2-135m, real weights", "smollm2-135m")]
    for model_type in sorted({*FAMILIES, *REFUSED, "gptj", "helium", "olmo3"}):
        with tempfile.TemporaryDirectory() as place:
            rows.append(graph_row(model_type, small_model(Path(place), model_type)))
        print(rows[-1], flush=True)
    head = GRAPHS.format(onnxruntime=onnxruntime.__version__, openvino=openvino.__version__.split("-")[0])
    return head + "\n".join(rows) + "\n"


def main() -> None:
    import xllamacpp

    logging.disable(logging.WARNING)
    rows = []
    for model_type, family in sorted(FAMILIES.items()):
        with tempfile.TemporaryDirectory() as place:
            rows.append(f"| {model_type} | {family.arch} | {worst(small_model(Path(place), model_type)):.6f} |")
        print(rows[-1], flush=True)
    rows += [f"| {model_type} | {model_type} | refused: {reason} |" for model_type, reason in sorted(REFUSED.items())]
    real = ", ".join(f"{dtype} {worst('smollm2-135m', dtype):.6f}" for dtype in ("f32", "f16", "q8_0"))
    PAGE.write_text(HEAD.format(version=xllamacpp.__version__, real=real) + "\n".join(rows) + "\n" + graphs(), encoding="utf-8")


if __name__ == "__main__":
    main()
