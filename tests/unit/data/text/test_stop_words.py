"""What remains of a text without stop words."""

from __future__ import annotations

import pytest

from bothways.data.text.stop_words import content_words, english_stop_words


def test_the_list_is_nltk_s():
    words = english_stop_words()
    assert len(words) == 179
    assert {"the", "i", "wouldn't", "ourselves", "d"} <= words and not {"cat", "would", "said"} & words
    assert all(word == word.lower() for word in words)


def test_punctuation_and_stop_words_go():
    assert content_words("The cat didn't sit on THE mat, did it? _No_: 3 cats!") == "cat sit mat 3 cats"
    assert content_words("It is. The, of!") == ""
    assert content_words("Über allen Gipfeln ist Ruh; 今日は、天気") == "Über allen Gipfeln ist Ruh 今日は 天気"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("नमस्ते हिन्दी, भाषा।", "नमस्ते हिन्दी भाषा"),
        ("தமிழ் மொழி!", "தமிழ் மொழி"),
        ("العَرَبِيَّة، نعم", "العَرَبِيَّة نعم"),
        ("می\u200cخواهم.", "می\u200cخواهم"),
        ("cafe\u0301 nai\u0308ve", "cafe\u0301 nai\u0308ve"),
        ("love ❤\ufe0f 👍🏽 cats", "love cats"),
    ],
)
def test_marks_belong_to_their_words(text, words):
    assert content_words(text) == words
