"""Writes the README of an ONNX or OpenVINO export: its inputs, and programs that run it.

One program uses the runtime alone. Its code is run by `tests/parity/test_export_graphs.py`.
"""

from __future__ import annotations

from bothways.backbone.tokenizer.preparation import specials
from bothways.encoder.encoder import Encoder
from bothways.exports.graphs import onnx_graph, openvino_graph
from bothways.exports.manifest import BARS

COMMAND = "bothways serve . --port 8000"
"""Starts bothways' own server, which runs the graph."""
_TITLES = {"onnx": "ONNX", "openvino": "OpenVINO"}
_OPEN = {
    "onnx": ("import onnxruntime", f'graph = onnxruntime.InferenceSession("{onnx_graph.GRAPH}")'),
    "openvino": (
        "import openvino",
        f"settings = {openvino_graph.SETTINGS}\n"
        f'graph = openvino.Core().compile_model("{openvino_graph.GRAPH}", "CPU", settings)',
    ),
}
_RUN = {
    "onnx": 'vectors = graph.run(["sentence_embedding"], inputs)[0]',
    "openvino": 'vectors = graph(inputs)["sentence_embedding"]',
}
_PRECISION = """
Without these settings OpenVINO computes in bfloat16 on CPUs that have it, and the vectors differ.
"""


def readme_of_graph(encoder: Encoder, name: str, dtype: str, target: str) -> str:
    """Return the text of the README.

    Args:
        encoder: the encoder that was exported.
        name: the model's name.
        dtype: "f32" or "int8".
        target: "onnx" or "openvino".
    """
    file = onnx_graph.GRAPH if target == "onnx" else openvino_graph.GRAPH
    second = (
        "A second output, `unnormalized`, has the vectors before they are normalized."
        if encoder.options.normalize
        else "Vectors are not normalized."
    )
    return f"""# {name}, {_TITLES[target]}, {dtype}

`{file}` is the whole encoder: token ids in, vectors out, pooled as the encoder does.

```
{COMMAND}
```

```python
import bothways as bw

encoder = bw.load(".")
encoder.encode(["a text", "another one"])
```

Both use the same tokens, prompts and limit as the encoder. They need `pip install 'bothways[{target}]'`, the server `'bothways[serve]'`
too. Check the vectors: `bothways verify-export .` The cosine must be at least {BARS[dtype]}.

## Without bothways

| input | shape | |
|---|---|---|
| input_ids | batch × tokens, int64 | padded at the right or at the left |
| attention_mask | batch × tokens, int64 | 1 for tokens, 0 for padding |
| pool_mask | batch × tokens, int64 | {_pool_mask(encoder)} |

Batches can have any size, and texts any length from 2 tokens. The output `sentence_embedding` is batch × dimension, float32.
{second}
{_program(encoder, target)}"""


def _leaves_out_bos(encoder: Encoder) -> bool:
    return specials(encoder.tokenizer).bos_added and not encoder.options.pool_bos


def _pool_mask(encoder: Encoder) -> str:
    """Say which tokens are pooled."""
    left_out = ["the first token (BOS)"] if _leaves_out_bos(encoder) else []
    if encoder.options.prompts and not encoder.options.pool_prompt:
        left_out.append("a prompt and every token before it")
    zeros = f", but 0 for {', and for '.join(left_out)}" if left_out else ""
    return f"as attention_mask{zeros}"


def _program(encoder: Encoder, target: str) -> str:
    """Return a program that runs the graph, and how to put prompts before texts.

    There is no program if the encoder puts a wrapper around every text.
    """
    options = encoder.options
    prompts = (
        "\nPut a prompt before each text yourself: `bothways-export.json` has them (`prompts`, `default_prompt`).\n"
        if options.prompts
        else ""
    )
    if options.wrapper.prefix or options.wrapper.suffix:
        return (
            "\nEvery text has a prefix and a suffix (`wrapper` in `bothways-export.json`), which are part of its tokens.\n"
            + prompts
        )
    imported, opened = _OPEN[target]
    limit = f", truncation=True, max_length={options.max_length}" if options.max_length else ""
    bos = "pool_mask[:, 0] = 0  # BOS\n" if _leaves_out_bos(encoder) else ""
    return f"""
```python
{imported}
from transformers import AutoTokenizer

{opened}
tokens = AutoTokenizer.from_pretrained(".")(["a text"], return_tensors="np"{limit})
pool_mask = tokens["attention_mask"].copy()
{bos}inputs = {{"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"], "pool_mask": pool_mask}}
{_RUN[target]}
```
{_PRECISION if target == "openvino" else ""}{prompts}"""
