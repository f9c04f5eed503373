"""The README of a graph: what it says of each input follows the encoder. tests/parity runs its
program in the runtimes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import bothways as bw
from bothways.encoder.texts.wrapping import Wrapper
from bothways.exports.graphs import openvino_graph
from bothways.exports.graphs.graph_readme import COMMAND, readme_of_graph
from tiny import tiny_llama

LEFT_OUT = {
    (True, True): "as attention_mask",
    (False, True): "as attention_mask, but 0 for the first token (BOS)",
    (True, False): "as attention_mask, but 0 for a prompt and every token before it",
    (False, False): "as attention_mask, but 0 for the first token (BOS), and for a prompt and every token before it",
}
"""Text by whether BOS and prompts are pooled."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})


def encoder_of(base: Path, **options: Any) -> bw.Encoder:
    return bw.convert(base, dtype="float32", device="cpu", **options)


@pytest.mark.parametrize(("pool_bos", "pool_prompt"), LEFT_OUT)
def test_the_pool_mask_is_that_of_the_encoder(base: Path, pool_bos: bool, pool_prompt: bool) -> None:
    encoder = encoder_of(base, prompts={"query": "Find:\n"})
    encoder.options.pool_bos, encoder.options.pool_prompt = pool_bos, pool_prompt
    text = readme_of_graph(encoder, "mine", "f32", "onnx")
    assert f"| pool_mask | batch × tokens, int64 | {LEFT_OUT[pool_bos, pool_prompt]} |" in text
    assert ("pool_mask[:, 0] = 0" in text) is not pool_bos
    (row,) = encoder.tokenize(["a text"])
    assert row.pool == [pool_bos, *[True] * (len(row.ids) - 1)]
    (row,) = encoder.tokenize(["a text"], prompt="Find:\n")
    assert row.pool[:2] == [pool_prompt and pool_bos, pool_prompt]


def test_it_has_a_server_a_program_and_openvinos_settings(base: Path) -> None:
    encoder = encoder_of(base, normalize=True, max_length=40)
    texts = {target: readme_of_graph(encoder, "mine", "int8", target) for target in ("onnx", "openvino")}
    for target, text in texts.items():
        ours, theirs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        assert COMMAND in text and "bw.load" in ours and "max_length=40" in theirs
        compile(theirs, "README.md", "exec")
        assert f"'bothways[{target}]'" in text and "must be at least 0.99." in text and "`unnormalized`" in text
        assert "prompt before each text" not in text
    assert str(openvino_graph.SETTINGS) in texts["openvino"] and "bfloat16" in texts["openvino"]
    assert "bfloat16" not in texts["onnx"]


def test_a_wrapper_has_no_short_program(base: Path) -> None:
    encoder = encoder_of(base)
    encoder.options.wrapper = Wrapper("[INST] ", " [/INST]")
    text = readme_of_graph(encoder, "mine", "f32", "onnx")
    assert "Every text has a prefix and a suffix" in text and "import onnxruntime" not in text
