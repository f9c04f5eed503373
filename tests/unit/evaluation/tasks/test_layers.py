"""Cosines by layer as a task."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.probing.layer_cosines import layer_cosines
from tiny import SENTENCES, tiny_llama


def test_the_task(tmp_path):
    encoder = bw.convert(tiny_llama(tmp_path / "llama", tokenizer={"add_bos": True}), dtype="float32", device="cpu")
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(SENTENCES))
    spec = f"layers:{path}?limit=3"
    record = evaluate(encoder, spec).records[spec]
    found = layer_cosines(encoder, SENTENCES[:3])
    details = record.details
    assert record.metrics == pytest.approx(
        {"mean_cosine": found.mean(), "first_layer": found[0].mean(), "last_layer": found[-1].mean()}, abs=1e-9
    )
    assert details["layers"] == pytest.approx(found.mean(axis=1), abs=1e-6)
    longest = max(SENTENCES[:3], key=lambda text: len(encoder.tokenize([text])[0].ids))
    np.testing.assert_allclose(details["heatmap"], layer_cosines(encoder, longest), atol=1e-4)
    assert details["tokens"][0] == "<s>"
    assert "".join(details["tokens"][1:]) == longest
    json.dumps(details, allow_nan=False)

    class Plain:
        def encode(self, texts):
            return np.ones((len(texts), 2))

    with pytest.raises(InputError, match="task 'layers' needs the states of single tokens"):
        evaluate(Plain(), spec)
