"""Sentences of a text, by rule: where passages may be cut.

A full stop, question or exclamation mark (those of Indian languages, Urdu, Arabic, Amharic and Armenian among them) ends a sentence when
white space and no small letter follow, and no abbreviation or initial comes before; so does every full-width mark of Chinese and
Japanese, and an empty line. Good enough to cut at, and without a model of
any language: a wrong boundary makes a passage begin in the middle of a sentence, no more.

It stands apart because rules of language are facts of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# what a writer puts a full stop behind without ending a sentence
_ABBREVIATIONS = frozenset(
    re.findall(
        r"\w+",
        "adm al approx art assn brig bros ca capt cf co col corp dept dr ed eds eg esq est etc ex fig figs gen gov hon ie inc jr lieut "
        "lt ltd maj messrs mlle mme mr mrs ms mt no nos op p pp prof pt rep rev sen sergt sgt sr st supt vol vols vs",
    )
)
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
# devanagari danda and double danda, Arabic full stop and question mark, Ethiopic and Armenian full stop behind the Latin ones
_MARK = "[.!?\u2026\u0964\u0965\u06d4\u061f\u1362\u0589]"
# from a mark's first on alone: every later one of a long row would be tried to the row's end otherwise
_END = re.compile(
    f"(?<!{_MARK}){_MARK}+[\"'\u2019\u201d\u00bb)\\]]*(?=\\s)|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019\uff09]*"
)
_FULL_WIDTH_END = re.compile("[\u3002\uff01\uff1f][\u300d\u300f\u201d\u2019\uff09]*$")
_WORD_BEFORE = re.compile(r"(\w+)$")
_OPENING = "\"'\u201c\u2018\u00ab([\u00bf\u00a1 "


def sentences(text: str) -> list[str]:
    """The sentences of a text in order, white space within each (line breaks of a book) made one blank; none is empty."""
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        paragraph = " ".join(paragraph.split())
        start = 0
        for match in _END.finditer(paragraph):
            if _ends(paragraph, match):
                found.append(paragraph[start : match.end()].strip())
                start = match.end()
        found.append(paragraph[start:].strip())
    return [sentence for sentence in found if sentence]


def joined(parts: Sequence[str]) -> str:
    """Sentences as a text again: a blank between two, none behind a full-width mark, where Chinese and Japanese have none."""
    text = ""
    for part in parts:
        text += part if not text or _FULL_WIDTH_END.search(text[-8:]) else f" {part}"
    return text


def _ends(paragraph: str, match: re.Match[str]) -> bool:
    # slices of a few characters: a paragraph may be a whole book
    following = paragraph[match.end() : match.end() + 8].lstrip(_OPENING)[:1]
    if following.islower():
        return False
    word = _WORD_BEFORE.search(paragraph[max(0, match.start() - 8) : match.start()])
    if word is None or match[0][0] != ".":
        return True
    # "J. Smith", "Dr. Smith"
    return not (len(word[1]) == 1 and word[1].isupper()) and word[1].lower() not in _ABBREVIATIONS
