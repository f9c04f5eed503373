"""Shifted groups cut a text as LongLoRA published it; the dense mask equals one drawn by rolling
and cutting lists of tokens.
"""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch

from bothways.attention.plan import AttentionPlan
from bothways.attention.shifted import ShiftedGroups
from bothways.config import Strict, parse
from bothways.errors import InputError


def chunks(length: int, groups: ShiftedGroups, shifted: bool) -> list[list[int]]:
    """The tokens of each group in the order in which they attend, by the paper's words: roll, cut,
    and with no wrap cut again.
    """
    size = groups.size or math.ceil(length * groups.ratio)
    tokens = list(range(length))
    if not shifted or size >= length:
        return [tokens[at : at + size] for at in range(0, length, size)]
    half = size // 2
    if groups.wrap == "roll":
        rolled = tokens[half:] + tokens[:half] if groups.toward == "left" else tokens[length - half :] + tokens[: length - half]
        return [rolled[at : at + size] for at in range(0, length, size)]
    ahead = half if groups.toward == "left" else size - half
    return [part for part in [tokens[:ahead], *(tokens[at : at + size] for at in range(ahead, length, size))] if part]


def naive(lengths, direction, groups, shifted):
    mask, start = torch.zeros(sum(lengths), sum(lengths), dtype=torch.bool), 0
    for length in lengths:
        for group in chunks(length, groups, shifted):
            for place, token in enumerate(group):
                for seen in group[: place + 1] if direction == "causal" else group:
                    mask[start + token, start + seen] = True
        start += length
    return mask


KINDS = [
    ShiftedGroups(),
    ShiftedGroups(toward="right"),
    ShiftedGroups(wrap="roll"),
    ShiftedGroups(wrap="roll", toward="right"),
    ShiftedGroups(ratio=0.5),
    ShiftedGroups(ratio=1 / 3, toward="right"),
    ShiftedGroups(size=3),
    ShiftedGroups(size=5, wrap="roll"),
    ShiftedGroups(size=5, toward="right", wrap="roll"),
]


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("groups", KINDS, ids=str)
def test_dense_masks_equal_rolled_and_cut_lists(groups, direction):
    for lengths in [(n,) for n in range(1, 10)] + [(16,), (17,), (7, 16, 1, 3), (12, 12)]:
        plan = AttentionPlan(lengths, direction, groups)
        for shifted in (False, True):
            assert torch.equal(plan.dense(shifted=shifted), naive(lengths, direction, groups, shifted)), (lengths, shifted)


def test_boundaries_are_the_published_ones():
    """0, G/2, 3G/2, 5G/2, 7G/2, N for shifted heads: the authors' FlashAttention code."""
    plan = AttentionPlan((4096,), "causal", ShiftedGroups())
    assert plan.plain_groups.cu_seqlens().tolist() == [0, 1024, 2048, 3072, 4096]
    assert plan.shifted_groups.cu_seqlens().tolist() == [0, 512, 1536, 2560, 3584, 4096]
    assert AttentionPlan((4096,), "causal", ShiftedGroups(toward="right")).shifted_groups == plan.shifted_groups


def test_lengths_that_no_group_divides_end_in_a_short_group():
    groups = ShiftedGroups()
    assert (groups.group_size(10), groups.lengths(10, shifted=False)) == (3, (3, 3, 3, 1))
    assert groups.lengths(10, shifted=True) == (1, 3, 3, 3)
    assert ShiftedGroups(toward="right").lengths(10, shifted=True) == (2, 3, 3, 2)
    assert ShiftedGroups(ratio=0.07).group_size(100) == 7, "0.07 · 100 is a rounding error above 7"
    assert ShiftedGroups(size=8).lengths(21, shifted=True) == (4, 8, 8, 1)


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("groups", [ShiftedGroups(ratio=1.0), ShiftedGroups(size=9), ShiftedGroups(size=50, wrap="roll")])
def test_one_group_is_full_attention(groups, direction):
    plan, full = AttentionPlan((9, 4), direction, groups), AttentionPlan((9, 4), direction)
    for shifted in (False, True):
        assert torch.equal(plan.dense(shifted=shifted), full.dense())
    assert plan.full == full and full.full is full


def test_which_heads_are_shifted():
    def kinds(shift, heads, layer=None):
        plain = ShiftedGroups(shift=shift).plain_heads(heads, layer)
        return "p" * plain + "s" * (heads - plain)

    assert [kinds("heads", heads) for heads in (1, 4, 9)] == ["s", "ppss", "ppppsssss"]
    assert [kinds("layers", 3, layer) for layer in range(3)] == ["ppp", "sss", "ppp"]
    assert (kinds("none", 2), kinds("all", 2)) == ("pp", "ss")
    with pytest.raises(InputError, match="needs each layer's number"):
        kinds("layers", 4)


def test_score_work_is_the_published_share():
    """A quarter in plain heads, 3.5 / 16 in shifted ones, of what full causal attention computes;
    exactly what the masks hold.
    """
    groups = ShiftedGroups()
    share = AttentionPlan((16384,), "causal", groups).scores(32) / AttentionPlan((16384,), "causal").scores(32)
    assert share == pytest.approx(0.234, abs=5e-4)
    for lengths in [(17,), (40, 3, 9)]:
        for direction in ("causal", "bidirectional"):
            for kind in (*KINDS, ShiftedGroups(shift="layers")):
                plan = AttentionPlan(lengths, direction, kind)
                assert plan.scores(5, layer=1) == int(plan.dense_heads(5, layer=1).sum())


def test_one_mask_for_every_head():
    plan = AttentionPlan((8,), "causal", ShiftedGroups())
    masks = plan.dense_heads(3)
    assert torch.equal(masks[0], plan.dense()) and torch.equal(masks[1], masks[2])
    assert torch.equal(masks[2], plan.dense(shifted=True)) and not torch.equal(masks[0], masks[2])
    assert torch.equal(AttentionPlan((8,)).dense_heads(2), torch.ones(2, 8, 8, dtype=torch.bool))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"ratio": 0.0}, "ratio: must be in"),
        ({"ratio": 1.5}, "ratio: must be in"),
        ({"size": 0}, "size: must be a whole number of tokens"),
        ({"size": 2.5}, "size: must be a whole number of tokens"),
        ({"shift": "half"}, "shift: must be one of 'heads', 'layers', 'all', 'none'"),
        ({"wrap": True}, "wrap: must be one of 'none', 'roll'"),
        ({"toward": "up"}, "toward: must be one of 'left', 'right'"),
    ],
)
def test_what_names_no_pattern_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        ShiftedGroups(**wrong)


def test_groups_that_wrap_have_no_window():
    plan = AttentionPlan((16,), "causal", ShiftedGroups(wrap="roll"))
    with pytest.raises(InputError, match="sliding window of 3 tokens"):
        plan.dense(window=3)
    assert torch.equal(plan.dense(window=16), plan.dense())


def test_groups_are_a_field_of_typed_configurations():
    class Config(Strict):
        shifted: ShiftedGroups | None = None

    made = parse(Config, {"shifted": {"size": 4, "wrap": "roll"}}, where="recipe")
    assert made.shifted == ShiftedGroups(size=4, wrap="roll")
    assert parse(Config, made.model_dump(mode="json"), where="recipe") == made
    assert made.model_dump()["shifted"] == asdict(ShiftedGroups(size=4, wrap="roll"))
    for wrong, message in [
        ({"sise": 4}, "shifted.sise: Unexpected"),
        ({"ratio": 2}, r"shifted.*ratio: must be in \(0, 1\]"),
        ({"shift": "half"}, "shifted.shift"),
    ]:
        with pytest.raises(InputError, match=message):
            parse(Config, {"shifted": wrong}, where="recipe")
