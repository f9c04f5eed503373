"""docs/serve.md keeps its word: its commands are commands, its examples run, its limits are the
defaults.
"""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pytest

from bothways.serving.schema import EmbeddingRequest
from bothways.serving.settings import ServeSettings
from embedding_server import running
from pages import blocks, commands, page, parsed

TEXT = page("serve.md")
ADDRESS = "http://127.0.0.1:8000"
TEXTS = ["a cat", "a dog"]


@pytest.fixture(scope="module")
def mine(encoder):
    with running({"mine": encoder}) as started:
        yield started


@pytest.mark.parametrize("line", commands(TEXT))
def test_its_commands_are_taken(line):
    verb, given = parsed(line)
    assert verb == "serve" and given["models"]


def test_its_curl_line(mine, encoder):
    (line,) = blocks(TEXT, "sh")
    words = shlex.split(line)
    assert words[0] == "curl" and words[2:5] == ["-H", "Content-Type: application/json", "-d"]
    _, answer, _ = mine.ask(words[1].removeprefix(ADDRESS), json.loads(words[5]))
    np.testing.assert_allclose([item["embedding"] for item in answer["data"]], encoder.encode(TEXTS), rtol=0, atol=1e-5)


def test_its_openai_example(mine, encoder):
    code = next(block for block in blocks(TEXT, "python") if "import OpenAI\n" in block)
    assert ADDRESS in code
    names: dict = {}
    exec(code.replace(ADDRESS, mine.url), names)
    np.testing.assert_allclose(names["vectors"], encoder.encode_document(TEXTS), rtol=0, atol=1e-5)


def test_its_tables_are_complete():
    fields = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert sorted(fields) == sorted(EmbeddingRequest.model_fields)
    limits = dict(re.findall(r"^\| `--([\w-]+)` \| (\d+) ", TEXT, re.MULTILINE))
    default = ServeSettings()
    assert {name: int(value) for name, value in limits.items()} == {
        name: int(getattr(default, name.replace("-", "_"))) for name in limits
    }
    assert len(limits) == 9
