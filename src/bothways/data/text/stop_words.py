"""English stop words, and the words that remain without them, which LLaRA's embeddings predict.

The list is the English one of NLTK's stopwords corpus (179 words, https://www.nltk.org/nltk_data/,
from Porter et al.), which LLaRA's released code uses. As there, everything but letters, digits and
spaces is removed first, and then the words of the list. So contractions of the list never match
("don't" has become "don" and "t", which are both listed).
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

_LIST = Path(__file__).with_name("stop_words_english.txt")
_JOINERS = "\u200c\u200d"  # within words of Persian and of Indian languages


@cache
def english_stop_words() -> frozenset[str]:
    """Return the list, in lower case."""
    return frozenset(_LIST.read_text(encoding="utf-8").split())


def content_words(text: str) -> str:
    """Return a text without punctuation and English stop words. Its other words stay in order.

    For example, content_words("The cat, of course!") is "cat course". Other languages have no words
    on the list, so only punctuation is removed.
    """
    gone = english_stop_words()
    kept = "".join(character if _of_a_word(character) else " " for character in text)
    # an emoji leaves nothing but marks
    return " ".join(
        word for word in kept.split() if word.lower() not in gone and any(map(str.isalnum, word))
    )


@cache
def _of_a_word(character: str) -> bool:
    # letters, digits, and the marks on them, which words of Hindi, Tamil or vocalized Arabic need
    return unicodedata.category(character)[0] in "LNM" or character in _JOINERS
