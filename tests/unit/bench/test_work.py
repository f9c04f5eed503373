"""Guards of speed that count work and not seconds, so that a busy machine does not change them.

Tokens computed for a token asked, rows of the vocabulary, shapes of matrix products, and Python
calls of a layer. A figure here may only become smaller.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.encoder.inference import CPU_TOKENS
from bothways.objectives.mntp import MntpConfig
from tiny import SENTENCES, tiny_llama

CALLS_OF_A_LAYER = 130
"""Python calls of one layer in a pass of one query, torch's and transformers' included."""


@pytest.fixture(scope="module")
def encoder(base: Path) -> Encoder:
    return bw.convert(base, dtype="float32", device="cpu", max_length=512)


def mixed(count: int, words: int = 60) -> list[str]:
    """Texts of very different lengths, as paragraphs have."""
    drawn = random.Random(0)
    pool = " ".join(SENTENCES).split()
    return [" ".join(drawn.choices(pool, k=1 + int(drawn.expovariate(1 / words)))) for _ in range(count)]


def inputs_of_layer(encoder: Encoder, run: Callable[[], object]) -> list[int]:
    """Rows that the first projection of the model gets in each pass."""
    rows: list[int] = []
    layer: Any = encoder.backbone.layers[0].self_attn.q_proj  # type: ignore[union-attr, index]
    hook = layer.register_forward_hook(lambda module, given, out: rows.append(given[0].numel() // given[0].shape[-1]))
    run()
    hook.remove()
    return rows


def test_tokens_computed_for_a_token_asked(encoder: Encoder) -> None:
    """Padded batches of 32 in the given order compute three times as many here."""
    texts = mixed(400)
    lengths = [len(row.ids) for row in encoder.tokenize(texts)]
    computed = sum(inputs_of_layer(encoder, lambda: encoder.encode(texts, show_progress_bar=False)))
    assert sum(lengths) <= computed <= 1.05 * sum(lengths)
    padded = sum(max(lengths[first : first + 32]) * 32 for first in range(0, 400, 32))
    assert padded > 2 * computed, "the texts are mixed enough to tell"


def test_one_query_computes_its_own_tokens(encoder: Encoder) -> None:
    for text in ("a", SENTENCES[0], " ".join(SENTENCES)):
        asked = len(encoder.tokenize([text])[0].ids)
        assert inputs_of_layer(encoder, lambda text=text: encoder.encode(text)) == [asked]


def test_few_shapes_are_prepared(encoder: Encoder) -> None:
    """oneDNN prepares a kernel for every new number of rows, so full passes have one size."""
    rows = inputs_of_layer(encoder, lambda: encoder.encode(mixed(400), show_progress_bar=False))
    assert len(rows) > 20 and len(set(rows)) <= 5
    assert sorted(rows)[len(rows) // 2] == CPU_TOKENS


def test_the_vocabulary_is_computed_at_masked_positions_alone(base: Path) -> None:
    """Logits of every token would be five times as many."""
    from bothways.backbone.loading.sources import load_pretrained

    head = load_pretrained(str(base), dtype="float32", head=True).head
    assert isinstance(head, nn.Module)
    encoder = bw.convert(base, dtype="float32", device="cpu")
    objective = MntpConfig(row_length=64, head_chunk=16).build(encoder, head)
    batch = objective.collate(objective.prepare(list(SENTENCES) * 8, encoder)[:8], torch.Generator().manual_seed(0))
    rows: list[int] = []
    objective.head.register_forward_hook(lambda module, given, out: rows.append(out.numel() // out.shape[-1]))
    objective.step(encoder, batch, scale=1.0, backward=lambda loss: loss.backward(), seed=0)
    assert sum(rows) == len(batch.targets) < 0.3 * batch.tokens.plan.total
    assert max(rows) <= 16


def python_calls(run: Callable[[], object]) -> int:
    """Count the Python functions that start while `run` runs. Calls of C functions do not count."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


def test_python_calls_of_a_layer(tmp_path: Path) -> None:
    """One query is short work for the products, so the calls between them are a large part of its time."""
    counts = []
    for layers in (2, 6):
        folder = tiny_llama(tmp_path / str(layers), num_hidden_layers=layers)
        encoder = bw.convert(folder, dtype="float32", device="cpu")
        encoder.encode(SENTENCES[0])
        counts.append(min(python_calls(lambda encoder=encoder: encoder.encode(SENTENCES[0])) for _ in range(3)))
    a_layer = (counts[1] - counts[0]) / 4
    assert a_layer <= CALLS_OF_A_LAYER, f"{a_layer:.0f} Python calls a layer"
    assert counts[0] - 2 * a_layer < 700, "calls besides the layers"
