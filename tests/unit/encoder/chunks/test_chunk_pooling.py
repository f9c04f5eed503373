"""Late chunking of documents whose states are not held whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.encoder.chunks import late_chunking
from tiny import SENTENCES, tiny_llama

DOCUMENT = " ".join(SENTENCES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True, "add_eos": True})


@pytest.mark.parametrize("pooling", ["mean", "weighted_mean", "last", "bos", "max", "latent_attention"])
@pytest.mark.parametrize("chunks", ["sentences", 7, [[(0, 60), (10, 1200), (5, 90), (1100, 1200), (300, 301), (0, 2000)]]])
def test_a_document_in_blocks_has_the_vectors_of_the_whole(folder: Path, monkeypatch, pooling: str, chunks: Any) -> None:
    """States held whole against states that are dropped window by window; chunks overlap, lie apart
    and come in any order.
    """
    encoder = bw.convert(folder, pooling=pooling, max_length=48, dtype="float32", device="cpu")
    text = (DOCUMENT * 9)[:2000]
    spans = chunks if isinstance(chunks, (str, int)) else chunks[0]
    for prompt in (None, "Find the passage: "):
        whole = encoder.encode_chunks(text, spans, prompt=prompt)
        monkeypatch.setattr(late_chunking, "TOGETHER", 64)
        held: list[int] = []

        def counted(*given: Any, held: list[int] = held, plain: Any = late_chunking.pooled) -> Any:
            held.append(len(given[3]))
            return plain(*given)

        monkeypatch.setattr(late_chunking, "pooled", counted)
        parts = encoder.encode_chunks(text, spans, prompt=prompt)
        monkeypatch.undo()
        assert parts.spans == whole.spans
        np.testing.assert_allclose(parts.vectors, whole.vectors, atol=1e-6)
        tokens = len(encoder.tokenize([text], prompt=prompt, max_length=9999)[0].ids)
        assert len(held) > 1
        assert chunks != "sentences" or max(held) < tokens / 2
