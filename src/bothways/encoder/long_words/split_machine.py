r"""Matches a tokenizer's regular expression against a text of which only the beginning is known.

A text cut at 6,000 characters may end inside a word. The tokenizers library then tells how the cut
text is split, but not which of the pieces remain when the text goes on. This matcher does: it
follows all paths of the pattern at once, in the order in which Oniguruma (the engine of the
tokenizers library) would try them. A match is certain if no path is left when the known characters
end. If some are left, each of them has already read all known characters. So the match ends no
earlier than the last place at which some path had succeeded.

For example, ` ?\p{L}+` on the beginning " wor" has one match that starts at 0 and ends at 4 or
later.

Patterns with other constructs than those below are refused, and nothing is proved about them:
characters, classes, `|`, groups, `(?i:…)`, greedy and lazy quantifiers, and lookahead at one
character. Characters are compared by Oniguruma itself, one at a time.

Method: simulation of a backtracking matcher by an ordered list of threads, Russ Cox, "Regular
Expression Matching: the Virtual Machine Approach", https://swtch.com/~rsc/regexp/regexp2.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from tokenizers import Regex, pre_tokenizers

_ESCAPE = re.compile(r"\\(?:[pP]\{\^?\w+\}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[sSdDwWnrtfv]|[^\w\s])")
_LOOKAHEAD = re.compile(r"\(\?([=!])")
_GROUP = re.compile(r"\((?:\?(?P<fold>i)?:|(?!\?))")
_COUNTED = re.compile(r"\{(\d{1,2})(?:(,)(\d{1,2})?)?\}")
_FOLDED_TOGETHER = re.compile("ss|ff|fi|fl|st", re.IGNORECASE)
"""Letters that Oniguruma, if it ignores case, also finds as one character (ß, ﬁ)."""
_MOST_INSTRUCTIONS = 2_000


class _Instruction(NamedTuple):
    """One step of the compiled pattern.

    `kind` is "read" a character of class `first` and go on at `then`, "fork" to `first` and, with
    lower priority, to `then`, "look" at the next character, or "accept".
    """

    kind: str
    first: int = 0
    then: int = 0
    wanted: bool = True


class _Refused(Exception):
    """The pattern has a construct that this matcher does not know."""


class PieceMatch(NamedTuple):
    """A match in a text of which the beginning is known.

    Attributes:
        end: place behind its last character, or None if there is no match here.
        reached: some path read all known characters. Then the match ends at `end` or later, and
            without an `end` there may or may not be one.
    """

    end: int | None
    reached: bool


class SplitMachine:
    r"""A compiled pattern, for example `SplitMachine(r"\s?\w+")`.

    Raises:
        ValueError: the pattern has a construct that is not known here.
    """

    def __init__(self, pattern: str) -> None:
        self._program: list[_Instruction] = []
        self._tests: list[Callable[[str], bool]] = []
        self._atoms: dict[str, int] = {}
        self._known: dict[tuple[int, str], bool] = {}
        self._steps: dict[tuple[tuple[int, ...], str | None], tuple[bool, tuple[int, ...]]] = {}
        try:
            if "(?i" in pattern and _FOLDED_TOGETHER.search(pattern):
                raise _Refused
            compiler = _Compiler(pattern, self._program, self._class)
            self._start = compiler.compiled()
        except (_Refused, RecursionError) as error:
            raise ValueError(
                f"pattern {pattern!r}: has a construct that is not known here"
            ) from error

    def match(self, text: str, start: int, end: int) -> PieceMatch:
        """Match at `start` of a text whose first `end` characters are known."""
        threads: tuple[int, ...] = (self._start,)
        found = None
        for place in range(start, end):
            accepted, threads = self._step(threads, text[place])
            if accepted:
                found = place
            if not threads:
                return PieceMatch(found, False)
        accepted, _ = self._step(threads, None)
        return PieceMatch(end if accepted else found, True)

    def _step(
        self, threads: tuple[int, ...], character: str | None
    ) -> tuple[bool, tuple[int, ...]]:
        """Advance all threads over a character. None is one that is not known."""
        key = threads, character
        if key not in self._steps:
            if len(self._steps) > 100_000:
                self._steps.clear()
            self._steps[key] = self._advance(*key)
        return self._steps[key]

    def _advance(
        self, threads: tuple[int, ...], character: str | None
    ) -> tuple[bool, tuple[int, ...]]:
        following: dict[int, None] = {}
        seen: set[int] = set()
        waiting = list(reversed(threads))
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            kind, first, then, wanted = self._program[place]
            if kind == "accept":
                return True, tuple(following)
            if kind == "fork":
                waiting += [then, first]
            elif kind == "read" and character is not None and self._is(first, character):
                following[then] = None
            elif kind == "look" and character is not None and self._is(first, character) == wanted:
                waiting.append(then)
        return False, tuple(following)

    def _is(self, atom: int, character: str) -> bool:
        key = atom, character
        if key not in self._known:
            self._known[key] = self._tests[atom](character)
        return self._known[key]

    def _class(self, atom: str) -> int:
        if atom not in self._atoms:
            self._atoms[atom] = len(self._tests)
            matcher = pre_tokenizers.Split(Regex(atom), "removed")
            self._tests.append(lambda character: not matcher.pre_tokenize_str(character))
        return self._atoms[atom]


class _Compiler:
    """Compiles a pattern from its end to its beginning.

    Each part knows the instruction behind it. `number` gives the number of a class.
    """

    def __init__(
        self, pattern: str, program: list[_Instruction], number: Callable[[str], int]
    ) -> None:
        self._pattern, self._program, self._number = pattern, program, number
        self._at = 0

    def compiled(self) -> int:
        """Return the first instruction.

        Raises:
            _Refused: unknown construct, or a pattern that matches the empty text.
        """
        part = self._alternatives(fold=False)
        if self._at < len(self._pattern) or part.empty:
            raise _Refused
        return part.place(self._emit(_Instruction("accept")))

    def _emit(self, instruction: _Instruction) -> int:
        if len(self._program) >= _MOST_INSTRUCTIONS:
            raise _Refused
        self._program.append(instruction)
        return len(self._program) - 1

    def _alternatives(self, *, fold: bool) -> _Part:
        found = [self._sequence(fold=fold)]
        while self._at < len(self._pattern) and self._pattern[self._at] == "|":
            self._at += 1
            found.append(self._sequence(fold=fold))

        def place(then: int) -> int:
            first = found[-1].place(then)
            for part in reversed(found[:-1]):
                first = self._emit(_Instruction("fork", part.place(then), first))
            return first

        return _Part(place, any(part.empty for part in found))

    def _sequence(self, *, fold: bool) -> _Part:
        found: list[_Part] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            found.append(self._quantified(self._item(fold=fold)))

        def place(then: int) -> int:
            for part in reversed(found):
                then = part.place(then)
            return then

        return _Part(place, all(part.empty for part in found))

    def _item(self, *, fold: bool) -> _Part:
        ahead = _LOOKAHEAD.match(self._pattern, self._at)
        group = None if ahead else _GROUP.match(self._pattern, self._at)
        if ahead:
            self._at = ahead.end()
            atom = self._number(self._atom(fold=fold))
            self._close()
            wanted = ahead[1] == "="
            return _Part(lambda then: self._emit(_Instruction("look", atom, then, wanted)), True)
        if group:
            self._at = group.end()
            part = self._alternatives(fold=fold or bool(group["fold"]))
            self._close()
            return part
        atom = self._number(self._atom(fold=fold))
        return _Part(lambda then: self._emit(_Instruction("read", atom, then)), False)

    def _close(self) -> None:
        if self._pattern[self._at : self._at + 1] != ")":
            raise _Refused
        self._at += 1

    def _atom(self, *, fold: bool) -> str:
        """Read one character, escape or class."""
        rest = self._pattern[self._at : self._at + 1]
        if rest == "\\":
            match = _ESCAPE.match(self._pattern, self._at)
            if match is None:
                raise _Refused
            end = match.end()
        elif rest == "[":
            end = self._end_of_class()
        elif not rest or rest in "()|*+?{^$":
            raise _Refused
        else:
            end = self._at + 1
        atom, self._at = self._pattern[self._at : end], end
        return f"(?i:{atom})" if fold else atom

    def _end_of_class(self) -> int:
        depth, at = 0, self._at
        while at < len(self._pattern):
            if self._pattern[at] == "\\":
                at += 1
            elif self._pattern[at] == "[":
                depth += 1
            elif self._pattern[at] == "]":
                depth -= 1
                if depth == 0:
                    return at + 1
            at += 1
        raise _Refused

    def _quantified(self, part: _Part) -> _Part:
        least, most = self._counts()
        if (least, most) == (1, 1):
            return part
        lazy = self._pattern[self._at : self._at + 1] == "?"
        self._at += lazy
        # possessive forms, and forms on which engines differ
        if self._pattern[self._at : self._at + 1] in ("*", "+", "?", "{") or part.empty:
            raise _Refused

        def fork(inner: int, then: int) -> _Instruction:
            return _Instruction("fork", then, inner) if lazy else _Instruction("fork", inner, then)

        def place(then: int) -> int:
            if most is None:
                loop = self._emit(_Instruction("accept"))
                self._program[loop] = fork(part.place(loop), then)
                then = loop
            else:
                behind = then
                for _ in range(most - least):
                    then = self._emit(fork(part.place(then), behind))
            for _ in range(least):
                then = part.place(then)
            return then

        return _Part(place, least == 0)

    def _counts(self) -> tuple[int, int | None]:
        """Read a quantifier: the least and the most repeats. None is unlimited."""
        sign = self._pattern[self._at : self._at + 1]
        if sign in ("*", "+", "?") and sign:
            self._at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        if sign != "{":
            return 1, 1
        counted = _COUNTED.match(self._pattern, self._at)
        if counted is None:
            raise _Refused
        self._at = counted.end()
        low, comma, high = counted.groups()
        most = (int(high) if high else None) if comma else int(low)
        if (
            most == 0
            or (most is not None and most < int(low))
            or (not comma and self._pattern[self._at : self._at + 1] == "?")
        ):
            raise _Refused
        return int(low), most


class _Part(NamedTuple):
    """A part of a pattern. `place` compiles it before an instruction. `empty`: it can be empty."""

    place: Callable[[int], int]
    empty: bool
