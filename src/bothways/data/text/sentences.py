"""The sentences of a text, found by rule, as places at which passages may be cut.

A full stop, question mark or exclamation mark ends a sentence if white space and no small letter
follow, and if it does not end an abbreviation or initial. The marks of Indian languages, Urdu,
Arabic, Amharic and Armenian count too. Every full-width mark of Chinese and Japanese ends a
sentence, and so does an empty line. This needs no model of a language. A wrong boundary does no
more harm than a passage that begins in the middle of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# a full stop after one of these does not end a sentence
_ABBREVIATIONS = frozenset(
    re.findall(
        r"\w+",
        "adm al approx art assn brig bros ca capt cf co col corp dept dr ed eds eg esq est etc ex fig figs gen gov hon ie inc jr lieut "
        "lt ltd maj messrs mlle mme mr mrs ms mt no nos op p pp prof pt rep rev sen sergt sgt sr st supt vol vols vs",
    )
)
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
# after the Latin marks: devanagari danda and double danda, Arabic full stop and question mark,
# Ethiopic and Armenian full stop
_MARK = "[.!?\u2026\u0964\u0965\u06d4\u061f\u1362\u0589]"
# only from the first of several marks on, or each mark of a long run would be tried to its end
_END = re.compile(
    f"(?<!{_MARK}){_MARK}+[\"'\u2019\u201d\u00bb)\\]]*(?=\\s)|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019\uff09]*"
)
_FULL_WIDTH_END = re.compile("[\u3002\uff01\uff1f][\u300d\u300f\u201d\u2019\uff09]*$")
_WORD_BEFORE = re.compile(r"(\w+)$")
_OPENING = "\"'\u201c\u2018\u00ab([\u00bf\u00a1 "


def sentences(text: str) -> list[str]:
    """Return the sentences of a text in order. None is empty.

    White space within a sentence, such as the line breaks of a book, becomes one space.
    """
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


def join_sentences(parts: Sequence[str]) -> str:
    """Return sentences as one text, with a space between two of them.

    There is none after a full-width mark, as in Chinese and Japanese.
    """
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
