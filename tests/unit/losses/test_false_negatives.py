"""Thresholds of false negatives, by numbers that can be checked in the head."""

from __future__ import annotations

import pytest
import torch

from bothways.losses.false_negatives import BatchTexts, FalseNegatives, false_negatives


@pytest.mark.parametrize(
    ("own", "others", "left_out"),
    [
        (0.8, [0.39, 0.40, 0.41, 0.95], [False, True, True, True]),
        # half of -0.4 would be -0.2, above the positive itself; what counts is -0.4 / 0.5 = -0.8
        (-0.4, [-0.9, -0.8, -0.7, -0.3], [False, True, True, True]),
        (0.0, [-0.1, 0.0, 0.1, 0.2], [False, True, True, True]),
    ],
)
def test_a_fraction_lies_below_the_positive_whatever_its_sign(own: float, others: list[float], left_out: list[bool]) -> None:
    options = FalseNegatives(same_text=False, same_label=False, fraction=0.5)
    cosines = torch.tensor([[own, *others]], dtype=torch.float64)
    found = false_negatives(cosines, torch.tensor([0]), options, texts=None, gather=False)
    assert found.tolist() == [[False, *left_out]]


def test_a_margin_is_exceeded_and_not_met() -> None:
    options = FalseNegatives(same_text=False, same_label=False, margin=0.25)
    found = false_negatives(torch.tensor([[0.5, 0.75, 0.8]]), torch.tensor([0]), options, texts=None, gather=False)
    assert found.tolist() == [[False, False, True]]


#: Two rows, one hard negative, up to three texts that a row knows and two classes of a text; -1
#: fills.
KNOWN = [[7, 4, -1], [5, 9, 4]]
COLUMNS = [4, 5, 9]
ROW_CLASSES = [[1, 2], [3, -1]]
COLUMN_CLASSES = [[1, 2], [3, -1], [-1, 3]]


def sets(rows: list[list[int]]) -> list[set[int]]:
    return [{number for number in row if number >= 0} for row in rows]


@pytest.mark.parametrize("columns", [COLUMN_CLASSES, None])
@pytest.mark.parametrize("same_text", [True, False])
@pytest.mark.parametrize("same_label", [True, False])
def test_texts_and_labels_are_left_out_as_sets_say(columns: list[list[int]] | None, same_text: bool, same_label: bool) -> None:
    texts = BatchTexts(
        known=torch.tensor(KNOWN),
        positive=torch.tensor(COLUMNS[:2]),
        negative=torch.tensor(COLUMNS[2:]),
        label=torch.tensor(ROW_CLASSES),
        columns=None if columns is None else torch.tensor(columns),
    )
    options = FalseNegatives(same_text=same_text, same_label=same_label)
    found = false_negatives(torch.zeros(2, 3), torch.tensor([0, 1]), options, texts=texts, gather=False)
    known, own = sets(KNOWN), sets(ROW_CLASSES)
    classes = sets(columns or [*ROW_CLASSES, [-1, -1]])
    expected = [
        [
            row != column
            and ((same_text and COLUMNS[column] in known[row]) or (same_label and bool(own[row] & classes[column])))
            for column in range(3)
        ]
        for row in range(2)
    ]
    assert found.tolist() == expected


@pytest.mark.parametrize("same_text", [True, False])
def test_columns_that_the_model_reads_as_the_query_or_the_positive(same_text: bool) -> None:
    """The texts differ, as by their blanks, and what the model reads is the same."""
    queries, positives, negatives = [50, 51, 52], [60, 61, 62], [51, 62, 70, 60]
    texts = BatchTexts(
        known=torch.tensor([[1, 4], [2, 5], [3, 6]]),
        positive=torch.tensor([4, 5, 6]),
        negative=torch.tensor([7, 8, 9, 10]),
        label=torch.full((3,), -1),
        tokens=torch.tensor([*queries, *positives, *negatives]),
    )
    options = FalseNegatives(same_text=same_text)
    found = false_negatives(torch.zeros(3, 7), torch.arange(3), options, texts=texts, gather=False)
    columns = [*positives, *negatives]
    expected = [
        [same_text and row != column and columns[column] in (queries[row], positives[row]) for column in range(7)]
        for row in range(3)
    ]
    assert found.tolist() == expected


def test_texts_and_labels_are_looked_at_unless_told_otherwise() -> None:
    assert FalseNegatives() == FalseNegatives(same_text=True, same_label=True, margin=None, fraction=None)
    for options in (FalseNegatives(same_label=False), FalseNegatives(same_text=False)):
        with pytest.raises(ValueError, match="identities"):
            false_negatives(torch.zeros(1, 1), torch.tensor([0]), options, texts=None, gather=False)


@pytest.mark.parametrize("given", [("columns",), ("tokens",), ("columns", "tokens"), ()])
def test_all_of_the_texts_move_to_another_device(given: tuple[str, ...]) -> None:
    more = {name: torch.tensor([[1], [2], [-1]]) for name in given}
    texts = BatchTexts(torch.tensor([[1], [2]]), torch.tensor([1, 2]), torch.tensor([3]), torch.tensor([1, 2]), **more).to(
        "meta"
    )
    tensors = {name: value for name, value in vars(texts).items() if value is not None}
    assert tensors.keys() == {"known", "positive", "negative", "label", *given}
    assert {tensor.device.type for tensor in tensors.values()} == {"meta"}
