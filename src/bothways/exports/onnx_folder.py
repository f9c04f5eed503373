"""Writes an encoder as an ONNX graph with everything around it that a runtime needs.

    model.onnx, model.onnx.data    ids and masks in, vectors out; batch and length are free
    tokenizer.json, …              as transformers writes them
    bothways-export.json           options that the graph does not hold, and reference vectors
    README.md                      how to run it

sentence-transformers has a road to ONNX of its own, which does not install beside transformers 5.
"""

from __future__ import annotations

import logging
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch

from bothways.backbone.checkpoints import quiet
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError, MissingExtra
from bothways.exports.graph import PaddedEncoder, plain_attention
from bothways.exports.manifest import write_manifest
from bothways.exports.reference import rows

GRAPH = "model.onnx"
INPUTS = ("input_ids", "attention_mask", "pool_mask")
OUTPUT = "sentence_embedding"


def write_folder(encoder: Encoder, folder: Path, name: str, dtype: str) -> None:
    """Write the graph and everything around it into an empty folder.

    Raises:
        InputError: a type other than f32, or what `PaddedEncoder` does not have.
        MissingExtra: onnx and onnxscript are not installed.
    """
    if dtype != "f32":
        raise InputError(f"dtype: ONNX graphs are written as f32, not as {dtype!r}")
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtra("onnx and onnxscript", "onnx", "export to ONNX") from None
    reference = rows(encoder)
    with plain_attention(encoder):
        write_graph(PaddedEncoder(encoder).eval(), folder / GRAPH)
    encoder.tokenizer.save_pretrained(folder)
    options = encoder.options
    write_manifest(
        folder,
        "onnx",
        dtype,
        reference,
        file=GRAPH,
        tokens=options.max_length or 0,
        dimension=encoder.dimension,
        pool_bos=options.pool_bos,
        pool_prompt=options.pool_prompt,
        wrapper=list(astuple(options.wrapper)),
        normalize=options.normalize,
        prompts=dict(options.prompts),
        default_prompt=options.default_prompt,
    )
    (folder / "README.md").write_text(_readme(name), encoding="utf-8")


def write_graph(module: PaddedEncoder, file: Path) -> None:
    """Trace the module and write it with free batch and length."""
    ids = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 0, 0]])
    mask = (torch.arange(5) < torch.tensor([[5], [3]])).long()
    batch, tokens = torch.export.Dim("batch", min=1, max=65536), torch.export.Dim("tokens", min=2, max=1_000_000)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), quiet():
        program: Any = torch.onnx.export(
            module,
            (ids, mask, mask.clone()),  # the same tensor given twice becomes one input of the graph
            dynamo=True,
            dynamic_shapes={name: {0: batch, 1: tokens} for name in INPUTS},
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            verbose=False,
        )
    program.save(str(file), external_data=True)


def _readme(name: str) -> str:
    return f"""# {name}, ONNX

`{GRAPH}` is the whole encoder: token ids in, vectors out, pooled and normalized as the encoder does. Batch and length are free.

| input | shape | |
|---|---|---|
| input_ids | batch × tokens, int64 | padded at the right |
| attention_mask | batch × tokens, int64 | 1 for tokens, 0 for padding |
| pool_mask | batch × tokens, int64 | as attention_mask, but 0 for a prompt's tokens if the encoder leaves them out of its pooling |

From Python, with the same tokens, prompts and limit as the encoder:

```python
import bothways as bw

encoder = bw.load_export(".")
encoder.encode(["a text", "another one"])
```

It needs `pip install 'bothways[onnx]'`. Check the vectors with `bothways verify-export .`.
"""
