"""The dialects and conversions on the real files: counts that follow from their SOURCE.md."""

from collections import Counter
from pathlib import Path

import pytest

from bothways.data.conversion.by_example import by_example
from bothways.data.conversion.classification import by_label
from bothways.data.conversion.clustering import clustering, read_titled_documents
from bothways.data.conversion.converted import Converted
from bothways.data.conversion.nli import read_inferences, triplets
from bothways.data.conversion.options import ClassOptions, NliOptions
from bothways.data.conversion.sts import directed_pairs
from bothways.data.decontamination import Overlap
from bothways.data.evaluation_texts import read_evaluation_texts
from bothways.data.labeled.graded_pairs import read_pairs
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.labeled.labeled_text import read_labeled
from bothways.data.words import normal_form

DATA = Path(__file__).resolve().parents[4].parent / "shared" / "data"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs the data folder ../shared/data"),
]


def test_flagembedding_examples():
    """Eight files of ten rows; passages of similarity and clustering carry the prompt, those of
    classification do not.
    """
    examples = read_examples(DATA / "flagembedding-examples")
    assert len(examples) == 80 and set(Counter(example.task for example in examples).values()) == {10}
    symmetric = {example.task for example in examples if example.document_prompt}
    assert symmetric == {"arXiv_title", "bioRXiv_title", "sts"}
    assert all(example.query_prompt.endswith("\nQuery: ") for example in examples)
    scored = {example.task for example in examples if example.negative_scores is not None}
    assert scored == {"msmarco", "nli", "nq"}
    assert {len(example.negatives) for example in examples if example.task == "AmazonClassification"} == {4}


def test_nli_triplets_of_the_readme():
    """About 20,800 with every hypothesis used once; 5,006 + 2,943 + 2,921 premises have both kinds,
    less those of doubtful rows.
    """
    read = Converted()
    names = ("lingnli/train", "snli-devtest/dev", "snli-devtest/test")
    rows = [item for name in names for item in read_inferences(DATA / f"{name}.jsonl.gz", read)]
    assert len(rows) == 44_983 + 9_842 + 9_824 and not read.dropped
    assert len(triplets(rows, NliOptions(pairing="one_to_one")).examples) == 20_848
    assert len(triplets(rows).examples) == 21_310
    premises = triplets(rows, NliOptions(pairing="premise")).examples
    assert 5_006 + 2_943 + 2_921 - len(premises) == 1


@pytest.mark.parametrize(("name", "premises"), [("lingnli/val", 833), ("klue-nli/train", 8_045), ("kornli-xnli/dev", 830)])
def test_premises_with_both_kinds(name, premises):
    assert len({example.query for example in read_examples(DATA / f"{name}.jsonl.gz")}) == premises


def test_scifact():
    examples = read_examples(DATA / "scifact")
    assert len(examples) == 809 and sum(len(example.positives) for example in examples) == 919
    assert {example.task for example in examples} == {"scifact"}


def test_stsb_in_both_directions():
    pairs = read_pairs(DATA / "stsb" / "train.jsonl.gz")
    examples = read_examples(DATA / "stsb" / "train.jsonl.gz")
    high = {frozenset((a, b)) for a, b, score in zip(pairs.first, pairs.second, pairs.scores) if score >= 4}
    assert {frozenset((example.query, example.positives[0])) for example in examples} == high
    # every pair twice, except a sentence paired with itself
    assert len(examples) == sum(2 if len(pair) == 2 else 1 for pair in high)
    gold = {}
    for a, b, score in zip(pairs.first, pairs.second, pairs.scores):
        gold[a, b] = gold[b, a] = max(score, gold.get((a, b), 0.0))
    for example in directed_pairs(pairs).examples:
        assert all(gold.get((example.query, text), 0.0) <= 2.5 for text in example.negatives)


@pytest.mark.parametrize(("year", "shared_pairs"), [("sts12", 999), ("sts14", 1_860)])
def test_normal_form_finds_the_known_leaks(year, shared_pairs):
    """STS-B train holds these pairs of the years' test sets (shared README); in the tokenised,
    lower-cased copies too.
    """
    train = read_pairs(DATA / "stsb" / "train.jsonl.gz")
    keys = {frozenset(map(normal_form, pair)) for pair in zip(train.first, train.second)}
    for name in ("test", "test_raw"):
        test = read_pairs(DATA / year / f"{name}.jsonl.gz")
        found = sum(frozenset(map(normal_form, pair)) in keys for pair in zip(test.first, test.second))
        assert shared_pairs <= found <= shared_pairs + 5  # case and punctuation aside, a few more than to the letter


def test_banking77():
    items = read_labeled(DATA / "banking77" / "train.jsonl.gz")
    test = Overlap(read_evaluation_texts([DATA / "banking77" / "test.jsonl"]))
    converted = by_label(items, ClassOptions(without=test))
    assert converted.rows == 10_003 == len(converted.examples) + sum(converted.dropped.values())
    assert {len(example.negatives) for example in converted.examples} == {76}
    assert converted.dropped["held by evaluation data"] == 28 == len(converted.matches)
    few = by_example(items, ClassOptions(per_label=20))
    assert len(few.examples) == 77 * 20 and set(Counter(example.label for example in few.examples).values()) == {20}


def test_stackoverflow_clusters():
    converted = clustering(
        read_titled_documents(DATA / "stackoverflow-clustering" / "test.jsonl.gz"), ClassOptions(total=2_000)
    )
    assert set(Counter(example.label for example in converted.examples).values()) == {100}
    assert {example.label for example in converted.examples} >= {"linq", "haskell", "magento"}
