"""The words of a text and its normal form, by which conversions and overlap removal compare texts.

Scripts without spaces are handled too: each of their characters is a word, as in Lucene's CJK
analyzers.
"""

from __future__ import annotations

import re
import unicodedata

# scripts without spaces: Thai, Lao, Tibetan, Myanmar, Khmer, Kana, Han and its extensions
_UNSPACED = (
    r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_WORD = re.compile(f"[{_UNSPACED}]|[^{_UNSPACED}]+")


class _Punctuation(dict[int, "str | None"]):
    """A table for `str.translate`: punctuation, spaces and control characters become `to`.

    It is filled as characters are met. Symbols stay, because C++ is not C. So do combining marks,
    which belong to the letters of many scripts.
    """

    def __init__(self, to: str | None) -> None:
        super().__init__()
        self.to = to

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        category = unicodedata.category(char)
        self[code] = self.to if category[0] in "PZ" or category in ("Cc", "Cf") else char
        return self[code]


_SPACED, _JOINED = _Punctuation(" "), _Punctuation(None)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def normal_form(text: str) -> str:
    """Return a text in NFKC without case, punctuation and white space.

    For example, the normal form of "Do n't!" and of "don't" is "dont". White space is removed so
    that a tokenized copy equals the original. A text of nothing but punctuation keeps it.
    """
    folded = _folded(text)
    return folded.translate(_JOINED) or "".join(folded.split())


def words(text: str) -> list[str]:
    """Return the words of a text, case-folded and without punctuation.

    For example, words("Hello, world") is ["hello", "world"]. In scripts that are written without
    spaces each character is a word.
    """
    spaced = _folded(text).translate(_SPACED).split()
    return [word for run in spaced for word in ([run] if run.isascii() else _WORD.findall(run))]
