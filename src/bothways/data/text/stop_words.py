"""Words that say nothing of a text, and the words that remain without them: what LLaRA's embeddings are to predict.

The list is the English one of NLTK's stopwords corpus (179 words, https://www.nltk.org/nltk_data/, from Porter et al.), which LLaRA's
released code uses; so is the order of things: everything but letters, digits and blanks goes, then words of the list. Contractions of
the list never match after that ("don't" has become "don" and "t", both listed).

It stands apart from the objective because it is data.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

_LIST = Path(__file__).with_name("stop_words_english.txt")
_JOINERS = "\u200c\u200d"  # within words of Persian and of Indian languages


@cache
def english_stop_words() -> frozenset[str]:
    """The list, in lower case."""
    return frozenset(_LIST.read_text(encoding="utf-8").split())


def content_words(text: str) -> str:
    """The text without punctuation and English stop words, its other words in order, one blank apart.

    In other languages nothing is on the list, so only punctuation goes.
    """
    gone = english_stop_words()
    kept = "".join(character if _of_a_word(character) else " " for character in text)
    # marks alone are what an emoji has left
    return " ".join(word for word in kept.split() if word.lower() not in gone and any(map(str.isalnum, word)))


@cache
def _of_a_word(character: str) -> bool:
    # letters, digits, and the marks on them, without which words of Hindi, Tamil or vocalised Arabic fall apart
    return unicodedata.category(character)[0] in "LNM" or character in _JOINERS
