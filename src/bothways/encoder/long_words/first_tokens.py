"""Proves how many tokens at the start of a word stay the same, whatever follows its beginning.

Write t(w) for the tokens of a string w, and L for the length of the longest vocabulary entry.

*Prefixes.* If t(w) has a boundary at place i, then t(w[:i]) are its tokens up to there.
- BPE: no merge of w crosses i, because a merged token is never cut again. The next merge is the one
  of lowest rank, and the first one among equals. Among the merges to the left of i, those of w are
  therefore the same, in the same order, as those of w[:i] alone.
- Unigram: the best way to each place is found from the places before it alone, so the ways of w and
  of w[:i] to the place i are the same.

*Proof.* Let c characters of a word be known. Some token of the whole word ends at c or spans it. No
token is longer than L, so the whole word has a boundary at some i with c - L < i <= c. There,
either i = c, or w[i:c] is the beginning of a longer entry. By the first fact, the tokens of the
whole word begin with t(w[:i]) for one of these i. So the tokens with which all of them begin
are those of the whole word.

Nothing is assumed about the order of merges, or about how far they depend on each other: if a
change at the end can run back through the word, the t(w[:i]) differ, and fewer tokens are proved.

*Pairs.* For BPE, most of the t(w[:i]) need not be computed. If every two neighbors of a list of
tokens are the tokens of their joined string, then the list is the tokens of its joined string: the
first merge across a boundary would also be one of the joined pair. So if t(w[:c]) has a boundary at
b, and its token before b and the first one of t(w[b:i]) are such a pair, then t(w[:i]) has the same
tokens up to b.

Conditions:
- no dropout and no sampling, no marks for the continuation or end of words
- The last known character is an entry. Otherwise an unknown token as long as the text may span c,
  or a boundary may lie between two bytes of the character. No entry joins unknown characters or
  bytes to others. Unigram joins unknown neighbors at the end, so there the last L characters are
  entries.
- All strings to tokenize are longer than L, because `ignore_merges` takes a word that is an entry.

Sources: Berglund and van der Merwe, "Formalizing BPE Tokenization", arXiv 2309.08715, on prefixes
and bounded lookahead; van Antwerpen and Neubeck, https://github.com/github/rust-gems (crate bpe),
on pairs.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BYTE = re.compile("<0x[0-9A-F]{2}>")
_MOST_CHARACTERS = 1_000_000
"""Characters to tokenize for one proof, about half a second."""


class FirstTokens:
    """The proof for one BPE or Unigram model of the tokenizers library."""

    def __init__(self, backend: Tokenizer) -> None:
        model = backend.model
        self._kind = type(model).__name__
        marks = getattr(model, "continuing_subword_prefix", None) or getattr(
            model, "end_of_word_suffix", None
        )
        sampled = getattr(model, "dropout", None) or getattr(model, "alpha", None)
        self.usable = self._kind in ("BPE", "Unigram") and not marks and not sampled
        self._model = model
        self._entries = sorted(backend.get_vocab(with_added_tokens=False)) if self.usable else []
        self._longest = max(map(len, self._entries), default=0)
        unknown = getattr(model, "unk_token", None)
        if self._kind == "BPE" and any(_joins(entry, unknown) for entry in self._entries):
            self.usable = False

    def of(self, word: str) -> list[int]:
        """Return ids of tokens with which every word begins that begins with `word`.

        The word is as the model reads it, for example "Ġriver" in a byte-level model. The word
        itself counts as one that begins so. The list is empty if nothing is proved.
        """
        if self._kind == "BPE":
            known = (place for place in range(len(word), 0, -1) if self._is_entry(word[place - 1]))
            word = word[: next(known, 0)]
        length = len(word)
        if not self.usable or length <= 2 * self._longest:
            return []
        if (
            not all(self._is_entry(character) for character in set(word[length - self._longest :]))
            and self._kind != "BPE"
        ):
            return []
        whole = self._model.tokenize(word)
        # without its last token, because an unknown one could be joined with the next
        shared = len(whole) - 1
        left = _MOST_CHARACTERS
        for end in range(length - self._longest + 1, length):
            if not self._begins_entry(word[end:]):
                continue
            count, used = self._shared(word, whole, end)
            shared, left = min(shared, count), left - used
            if shared < 1 or left < 0:
                return []
        return [token.id for token in whole[:shared]]

    def _shared(self, word: str, whole: list[Any], end: int) -> tuple[int, int]:
        """Count the tokens of the word that are also those of `word[:end]`.

        Also returns how many characters were tokenized to find out.
        """
        used, tail = 0, 4 * self._longest
        while self._kind == "BPE" and tail < end:
            place, start = _boundary(word, whole, tail)
            if (
                place < 1
                or word[start - len(whole[place - 1].value) : start] != whole[place - 1].value
            ):
                break
            used += end - start
            before, after = whole[place - 1], self._model.tokenize(word[start:end])[0]
            if [token.id for token in self._model.tokenize(before.value + after.value)] == [
                before.id,
                after.id,
            ]:
                return place, used
            tail *= 4
        tokens = self._model.tokenize(word[:end])[:-1]
        same = (
            place for place, (one, other) in enumerate(zip(whole, tokens)) if one.id != other.id
        )
        return next(same, min(len(whole), len(tokens))), used + end

    def _is_entry(self, string: str) -> bool:
        place = bisect_right(self._entries, string)
        return place > 0 and self._entries[place - 1] == string

    def _begins_entry(self, string: str) -> bool:
        """Return whether a string is the beginning of a longer entry."""
        place = bisect_right(self._entries, string)
        return place < len(self._entries) and self._entries[place].startswith(string)


def _joins(entry: str, unknown: str | None) -> bool:
    """Tell if an entry joins the unknown token, or a byte as `<0x41>`, to other characters."""
    if unknown and entry != unknown and unknown in entry:
        return True
    return len(entry) > 6 and _BYTE.search(entry) is not None


def _boundary(word: str, tokens: list[Any], tail: int) -> tuple[int, int]:
    """Return (number, place) of the last token that begins at least `tail` before the end.

    The number is 0 if a token in between is not spelled as it is in the word.
    """
    place, start = len(tokens), len(word)
    while place > 0 and len(word) - start < tail:
        place -= 1
        value = tokens[place].value
        start -= len(value)
        if start < 0 or not word.startswith(value, start):
            return 0, 0
    return place, start
