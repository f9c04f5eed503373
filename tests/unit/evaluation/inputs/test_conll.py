"""CoNLL files: sentences, document marks, limits, and what is wrong where."""

from __future__ import annotations

import gzip

import pytest

from bothways.errors import InputError, SourceError
from bothways.evaluation.inputs.conll import SPANNED, read_conll
from bothways.evaluation.measures.spans import spans

FILE = """-DOCSTART- -X- -X- O

EU NNP I-NP I-ORG
rejects VBZ I-VP O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER


-DOCSTART- -X- O O

. . O O"""


def test_sentences_and_tags(tmp_path):
    path = tmp_path / "train.txt.gz"
    path.write_bytes(gzip.compress(FILE.encode()))
    found = read_conll(path)
    assert [sentence.words for sentence in found] == [("EU", "rejects"), ("Peter", "Blackburn"), (".",)]
    assert found[0].tags == {"pos": ("NNP", "VBZ"), "chunk": ("I-NP", "I-VP"), "ner": ("I-ORG", "O")}
    assert read_conll(path, limit=2) == found[:2]
    assert read_conll(path, limit=9) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("EU NNP I-NP I-ORG\nrejects VBZ O", r"dev\.txt, row 2: 3 columns; expected four"),
        ("\nEU NNP NP O", r"dev\.txt, row 2: chunk tag 'NP'; expected O, B-TYPE or I-TYPE"),
        ("EU NNP O I-", r"row 1: ner tag 'I-'"),
        ("-DOCSTART- -X- -X- O\n\n", "no sentences; expected lines"),
        ("", "no sentences; expected lines"),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "dev.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_conll(path)


def test_no_file(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        read_conll(tmp_path / "train.txt")


@pytest.mark.shared
def test_the_shared_task_has_its_published_size(shared):
    # Tjong Kim Sang & De Meulder 2003, tables 1 and 2
    published = {"train": (14_041, 203_621, 23_499), "dev": (3_250, 51_362, 5_942), "test": (3_453, 46_435, 5_648)}
    for split, counts in published.items():
        sentences = read_conll(shared / "conll2003" / f"{split}.txt.gz")
        words = sum(len(sentence.words) for sentence in sentences)
        entities = sum(len(spans(sentence.tags["ner"])) for sentence in sentences)
        assert (len(sentences), words, entities) == counts
        assert all(len(sentence.tags[column]) == len(sentence.words) for sentence in sentences for column in SPANNED)
