"""Thresholds of false negatives, by numbers that can be checked in the head."""

from __future__ import annotations

import pytest
import torch

from bothways.losses.false_negatives import FalseNegatives, Texts, false_negatives


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


#: Two rows, one hard negative, up to three texts that a row knows and two classes of a text; -1 fills.
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
    texts = Texts(
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


def test_texts_and_labels_are_looked_at_unless_told_otherwise() -> None:
    assert FalseNegatives() == FalseNegatives(same_text=True, same_label=True, margin=None, fraction=None)
    for options in (FalseNegatives(same_label=False), FalseNegatives(same_text=False)):
        with pytest.raises(ValueError, match="identities"):
            false_negatives(torch.zeros(1, 1), torch.tensor([0]), options, texts=None, gather=False)


@pytest.mark.parametrize("columns", [torch.tensor([[1], [2], [-1]]), None])
def test_all_of_the_texts_move_to_another_device(columns: torch.Tensor | None) -> None:
    texts = Texts(torch.tensor([[1], [2]]), torch.tensor([1, 2]), torch.tensor([3]), torch.tensor([1, 2]), columns).to("meta")
    tensors = [texts.known, texts.positive, texts.negative, texts.label, *([] if columns is None else [texts.columns])]
    assert {tensor.device.type for tensor in tensors if tensor is not None} == {"meta"}
    assert (texts.columns is None) == (columns is None)
