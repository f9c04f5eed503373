"""Words and the normal form of texts, over scripts with and without spaces."""

from __future__ import annotations

import unicodedata

import pytest

from bothways.data.words import normal_form, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello, world", ["hello", "world"]),
        ("don't", ["don", "t"]),
        ("C++ and C#", ["c++", "and", "c"]),  # + is a symbol, # is punctuation
        ("ＦＵＬＬ　width", ["full", "width"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("寒い冬", ["寒", "い", "冬"]),
        ("GPUを2枚", ["gpu", "を", "2", "枚"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),  # combining marks stay in their word
        ("a\u200bb\x07c", ["a", "b", "c"]),
        ("?!", []),
        ("", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("one", "other"),
    [("Do n't !", "don't"), ("CAFÉ", "cafe\u0301"), ("ﬁne", "FINE"), ("a  b\tc", "A-B-C"), ("Ａ１", "a1")],
)
def test_texts_that_differ_in_form_alone_are_equal(one: str, other: str) -> None:
    assert normal_form(one) == normal_form(other)


def test_a_normal_form_is_its_own_and_never_empty_for_a_text() -> None:
    for text in ("Do n't!", "C++", "!? …", "寒い 冬", "ǅ"):
        made = normal_form(text)
        assert made and normal_form(made) == made
        assert not any(char.isspace() for char in made)
        assert unicodedata.is_normalized("NFKC", made)
    assert normal_form("C++") != normal_form("C")
    assert normal_form(" ") == ""
