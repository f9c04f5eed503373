"""STS pairs: both directions of high scores, and no negative that the annotators called related."""

import random

import pytest

from bothways.data.conversion.options import StsOptions
from bothways.data.conversion.sts import directed_pairs
from bothways.data.decontamination import Overlap
from bothways.data.labeled.example import Example
from bothways.data.labeled.graded_pairs import Pairs
from bothways.data.labeled.labeled_reader import read_examples
from bothways.errors import InputError
from bothways.training.stage.bm25_negatives import MineConfig, fill


def pairs(*rows):
    return Pairs([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


ROWS = pairs(
    ("a cat sits", "a cat is sitting", 4.0),
    ("a cat sits", "a cat sleeps", 2.6),
    ("a dog sits", "a cat sits", 2.5),
    ("a bird sits", "a bird flies", 3.99),
    ("a cat sits", "", 5.0),
    ("a cat is sitting", "a cat sits", 4.5),
)


def test_both_directions_of_pairs_from_the_threshold_on():
    converted = directed_pairs(ROWS, StsOptions(negatives=0, task="t"))
    # "a cat sleeps" is related to one of them, so three texts belong together
    label = converted.examples[0].label
    assert label is not None
    assert converted.examples == [
        Example("a cat sits", ("a cat is sitting",), task="t", label=label),
        Example("a cat is sitting", ("a cat sits",), task="t", label=label),
    ]
    assert converted.dropped == {"with an empty text": 1, "scored below 4": 3, "repeated": 1}
    assert converted.first == {"with an empty text": 5, "scored below 4": 2, "repeated": 6}


@pytest.mark.parametrize("chosen_by", ["bm25", "random"])
def test_negatives_score_at_most_the_ceiling(chosen_by):
    """2.6 with the query is too much, 2.5 is not; who was never compared counts as unrelated."""
    converted = directed_pairs(ROWS, StsOptions(negatives=9, chosen_by=chosen_by, first_rank=1))
    by_query = {example.query: set(example.negatives) for example in converted.examples}
    assert by_query["a cat sits"] == {"a dog sits", "a bird sits", "a bird flies"}
    assert by_query["a cat is sitting"] == {"a cat sleeps", "a dog sits", "a bird sits", "a bird flies"}


def test_no_negative_is_related_on_random_pairs():
    """Every (query, negative) against every scored pair, by a plain loop."""
    rng = random.Random(1)
    texts = [f"{a} {b} {c}" for a in ("red", "blue") for b in ("cat", "dog", "bird") for c in ("sits", "runs", "eats", "flies")]
    rows = [(*rng.sample(texts, 2), rng.choice([0.0, 2.5, 2.6, 3.9, 4.0, 5.0])) for _ in range(60)]
    worst = {}
    for first, second, score in rows:
        for key in ((first, second), (second, first)):
            worst[key] = max(score, worst.get(key, 0.0))
    for chosen_by in ("bm25", "random"):
        converted = directed_pairs(pairs(*rows), StsOptions(negatives=5, chosen_by=chosen_by))
        assert converted.examples
        for example in converted.examples:
            assert example.query not in example.negatives and len(set(example.negatives)) == len(example.negatives)
            assert all(worst.get((example.query, text), 0.0) <= 2.5 for text in example.negatives)


def test_related_texts_share_a_label():
    """3.0 connects what no example joins; 2.5 does not; a pair that nothing else touches needs no
    label.
    """
    rows = pairs(("a", "b", 5.0), ("b", "c", 3.0), ("C!", "d", 4.5), ("e", "f", 4.0), ("f", "a", 2.5), ("g", "h", 4.0))
    label = {example.query: example.label for example in directed_pairs(rows, StsOptions(negatives=0)).examples}
    assert len({label[query] for query in ("a", "b", "C!", "d")}) == 1 and label["a"] is not None
    assert {label[query] for query in "efgh"} == {None}


def test_mining_for_a_table_that_is_read_as_it_is_keeps_related_texts_apart(tmp_path):
    table = tmp_path / "sts.tsv"
    one, two, far = "a man plays the guitar in town", "a man plays the guitar loudly in town", "a man is in town with a guitar"
    scored = [(one, "some guitar", 4.5), (one, two, 3.4), (two, "that guitar", 4.2), (far, "a guitar there", 4.0)]
    table.write_text("sentence1\tsentence2\tscore\n" + "".join("\t".join(map(str, row)) + "\n" for row in scored))
    filled = {row.query: row.negatives for row in fill(read_examples(table), MineConfig(window=(1, 100)))}
    assert two not in filled[one] and far in filled[one]


def test_bm25_goes_by_rank():
    """Ranks among the other texts, in order; the first ones can be passed over."""
    rows = pairs(("x y z w", "q q q", 4.0), ("x y z u", "x y s t", 0.0), ("x n m o", "j k l i", 0.0))
    example = directed_pairs(rows, StsOptions(negatives=2, first_rank=2)).examples[0]
    assert example.query == "x y z w" and example.negatives == ("x y s t", "x n m o")
    assert directed_pairs(rows, StsOptions(negatives=2)).examples[0].negatives == ("x y z u", "x y s t")


def test_random_negatives_depend_on_the_seed():
    rows = pairs(*[(f"a{n}", f"b{n}", 5.0) for n in range(20)])
    one, same, other = (directed_pairs(rows, StsOptions(chosen_by="random", seed=seed)).examples for seed in (1, 1, 2))
    assert one == same != other


def test_evaluation_texts():
    rows = pairs(("held", "b", 5.0), ("c", "d", 5.0), ("e", "Held!", 0.0))
    converted = directed_pairs(rows, StsOptions(chosen_by="random", without=Overlap(["HELD"])))
    assert [example.query for example in converted.examples] == ["c", "d"]
    assert converted.dropped == {"held by evaluation data": 2} and converted.examples[0].negatives == ()


def test_wrong_numbers():
    with pytest.raises(InputError, match="none of 6 pairs scores at least 6"):
        directed_pairs(ROWS, StsOptions(threshold=6))
    with pytest.raises(InputError, match="ceiling 4 and threshold 4"):
        directed_pairs(ROWS, StsOptions(ceiling=4))
    with pytest.raises(InputError, match="chosen_by 'dense'"):
        directed_pairs(ROWS, StsOptions(chosen_by="dense"))  # type: ignore[arg-type]
