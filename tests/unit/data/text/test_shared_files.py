"""The readers on the real files: row counts as their sources state them."""

from pathlib import Path

import pytest

from bothways.data.labeled.graded_pairs import read_pairs
from bothways.data.text.readers import read_texts
from bothways.errors import InputError

DATA = Path(__file__).resolve().parents[4].parent / "shared" / "data"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs the data folder ../shared/data"),
]


@pytest.mark.parametrize(
    ("name", "rows"), [("wiki1m_first", 11_915), ("wikisplit_sentences", 15_000), ("clinc_wiki_sents", 14_750)]
)
def test_sentences(name, rows):
    """As many texts as lines, but for blank ones."""
    path = DATA / "wiki-sentences" / f"{name}.txt.gz"
    texts = read_texts(path)
    assert 0 <= rows - len(texts) <= 5
    assert not any("\n" in text or "\r" in text for text in texts)


def test_folder():
    """The three text files; the headerless tables beside them are passed over."""
    assert 41_665 - 10 <= len(read_texts(DATA / "wiki-sentences")) <= 41_665


def test_headerless_table_is_refused_with_its_columns():
    with pytest.raises(InputError, match="no column for text"):
        read_texts(DATA / "wiki-sentences" / "wikisplit_test.tsv.gz")


@pytest.mark.parametrize(
    ("name", "rows", "mean", "subsets"),
    [
        ("stsb/train.jsonl.gz", 5749, None, 0),
        ("stsb/dev.jsonl", 1500, None, 0),
        ("stsb/test.jsonl", 1379, 2.607917, 0),
        ("sts12/test.jsonl.gz", 3108, 3.506064, 5),
        ("sts12/test_raw.jsonl.gz", 3108, 3.506064, 5),
        ("sick/train.jsonl.gz", 4500, None, 0),
        ("sick/trial.jsonl", 500, None, 0),
    ],
)
def test_pairs(name, rows, mean, subsets):
    """Row counts and mean scores as published with MTEB (to the six digits stated there)."""
    pairs = read_pairs(DATA / name)
    assert len(pairs.first) == len(pairs.second) == len(pairs) == rows
    assert mean is None or sum(pairs.scores) / rows == pytest.approx(mean, abs=1e-6)
    assert len(set(pairs.subset or [])) == subsets


@pytest.mark.parametrize(
    ("name", "column"), [("masc", "text"), ("movie-reviews", "text"), ("brown/brown.jsonl.gz", "sentence")]
)
def test_unlabelled_text(name, column):
    assert len(read_texts(DATA / name)) == len(read_texts(DATA / name, column=column)) > 300
