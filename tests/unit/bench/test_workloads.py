"""Workloads have the lengths that they promise, from any texts."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.bench.workloads import FULL, LEAST, workloads
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from tiny import SENTENCES


@pytest.fixture(scope="module")
def encoder(base: Path) -> Encoder:
    return bw.convert(base, max_length=300, device="cpu", dtype="float32")


def test_lengths_and_counts(encoder: Encoder) -> None:
    made = {work.name: work for work in workloads(encoder, SENTENCES, 0.01)}
    assert list(made) == list(FULL)
    assert len(made["short"].texts) == 100 and len(made["queries"].texts) == LEAST["queries"]
    # cutting a text can merge its pieces in another way, so a query may have a token more or less
    for name in ("queries", "short"):
        lengths = made[name].lengths
        assert max(lengths) <= 12 and sum(lengths) / len(lengths) > 6
    assert made["queries"].each and not made["short"].each
    assert set(made["paragraphs"].texts) == set(SENTENCES)
    assert all(abs(length - 300) <= 3 for length in made["documents"].lengths), "as long as the encoder reads"


def test_no_text_is_longer_than_the_encoder_reads(encoder: Encoder) -> None:
    """Some peers refuse such texts."""
    long = [" ".join(SENTENCES * 4)] * 3
    for work in workloads(encoder, long, 1e-6):
        whole = encoder.tokenize(work.texts, max_length=10**6)
        assert max(len(row.ids) for row in whole) <= 302


def test_what_cannot_be_used_is_named(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="--workloads quries: is not one of queries, short"):
        workloads(encoder, SENTENCES, 1e-6, ["quries"])
    with pytest.raises(InputError, match="no query can be made"):
        workloads(encoder, ["a"], 1e-6, ["queries"])
