"""Views of a text: what is left is always a part of it, in order, and never nothing."""

import unicodedata

import pytest
import torch

from bothways.data.text.text_views import crop, delete_words, split_units
from bothways.errors import InputError

TEXTS = [
    "The quick  brown fox\njumps over the lazy dog.",
    "自然言語処理は難しいですが、楽しいです。",
    "自然 言語処理",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ",
    "한국어는 띄어쓰기를 합니다",
    "Donaudampfschifffahrtsgesellschaft",
    "  two words ",
    "e\u0301e\u0301 o\u0308o\u0308",
    "👩‍👩‍👧👍",
    "a",
    "\u200da \u200d",
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def is_subsequence(part, whole):
    rest = iter(whole)
    return all(item in rest for item in part)


@pytest.mark.parametrize("text", TEXTS)
def test_units_are_the_text(text):
    units = split_units(text)
    assert "".join(units) == text
    assert all(unit.strip() for unit in units)
    # no unit begins with a mark that belongs to the character before it
    assert not any(unicodedata.category(unit[0]).startswith("M") for unit in units[1:])


def test_units_follow_the_script():
    assert split_units("one two  three") == ["one ", "two  ", "three"]
    assert split_units("自然 abc言語") == ["自", "然 ", "abc", "言", "語"]
    assert split_units("ไม่มี x") == ["ไ", "ม่", "มี ", "x"]
    assert split_units("띄어 쓰기") == ["띄어 ", "쓰기"]
    assert split_units("word") == ["w", "o", "r", "d"]
    assert split_units(" ") == []


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("seed", range(5))
def test_views_are_parts_and_never_empty(text, seed):
    for amount in (1, 2, 100, 0.1, 0.5, 0.99):
        view = delete_words(text, amount, generator(seed))
        assert view.strip() and is_subsequence(view, text)
        assert len(view) < len(text) or len(split_units(text)) == 1
    for fraction in (0.1, 0.5, 0.99):
        view = crop(text, fraction, generator(seed))
        assert view.strip() and view in text
        assert len(view) < len(text) or len(split_units(text)) == 1


def test_amounts_are_exact():
    """Against counting: k of 40 words, and the rounded share of them, are gone."""
    text = " ".join(f"w{i}" for i in range(40))
    for amount, gone in [(1, 1), (7, 7), (40, 39), (0.1, 4), (0.26, 10), (0.001, 1)]:
        assert len(delete_words(text, amount, generator()).split()) == 40 - gone
    for fraction, gone in [(0.1, 4), (0.5, 20), (0.999, 39), (0.001, 1)]:
        assert len(crop(text, fraction, generator()).split()) == 40 - gone


def test_every_place_is_reached_and_only_the_generator_decides():
    text = "a b c d"
    assert {delete_words(text, 1, generator(seed)) for seed in range(60)} == {"b c d", "a c d", "a b d", "a b c"}
    assert {crop(text, 0.5, generator(seed)) for seed in range(60)} == {"a b", "b c", "c d"}
    torch.manual_seed(1)
    first = [delete_words(text, 1, generator(3)), crop(text, 0.5, generator(3))]
    torch.manual_seed(2)
    assert first == [delete_words(text, 1, generator(3)), crop(text, 0.5, generator(3))]


def test_nothing_stays_nothing():
    for text in ("", " \n"):
        assert delete_words(text, 1, generator()) == text == crop(text, 0.5, generator())


@pytest.mark.parametrize("amount", [0, -1, 0.0, 1.0, 1.5, True, float("nan")])
def test_amounts_out_of_range(amount):
    with pytest.raises(InputError, match="delete_words: amount"):
        delete_words("a b", amount, generator())
    if not isinstance(amount, bool):
        with pytest.raises(InputError, match="crop: fraction"):
            crop("a b", amount, generator())
