"""Writes docs/serving.md: each family in each server, measured on small random models. Run by `make exports`.

Prints the table too. The cosine is the least over short, long and Korean texts, alone and in a batch.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import bothways as bw
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

## ONNX

`bothways export MODEL --to onnx --out DIR` writes one graph: token ids, attention mask and pool mask in, vectors out. Pooling
(latent attention too) and normalization are inside, batch and length are free. The pool mask is 0 for a prompt's tokens if the
encoder leaves them out of its pooling. `bw.load_export(DIR).encode(texts)` tokenizes as the encoder does and runs the graph in
ONNX Runtime. SmolLM2-135M: cosine 1.000000. Poolings and eight families: `tests/parity/test_export_onnx.py`.

## Old llama.cpp

A llama.cpp from before March 2026 does not know the key for direction. It reads the text causally and says nothing.

## Families in llama.cpp

Measured by `make exports` with small random models, f32, xllamacpp {version}. The cosine is the least over short, long and
Korean texts, alone and in a batch. Real weights: SmolLM2-135M, by `bothways export smollm2-135m --to gguf --dtype TYPE` and
`bothways verify-export`: {real}.

| family | llama.cpp's name | cosine |
|---|---|---|
"""


def worst(model: str | Path, dtype: str = "f32") -> float:
    with tempfile.TemporaryDirectory() as place:
        out = bw.export(model, Path(place) / "out", to="gguf", dtype=dtype)
        return min(each.cosine for each in bw.verify_export(out))


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
    PAGE.write_text(HEAD.format(version=xllamacpp.__version__, real=real) + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
