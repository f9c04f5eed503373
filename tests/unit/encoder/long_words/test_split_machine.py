"""Which piece of a cut text is open, against the pieces that Oniguruma finds in every text that
begins so.
"""

from __future__ import annotations

import itertools
import json
import random

import pytest
from tokenizers import Regex, pre_tokenizers

from bothways.encoder.long_words.open_piece import open_piece
from bothways.encoder.long_words.split_machine import SplitMachine

GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}]*[\p{Ll}\p{M}]+(?i:'s|'t|'re)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}]+[\p{Ll}\p{M}]*(?i:'s)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LETTERS = "ab1 '\n"


def stages_of(splitter: pre_tokenizers.PreTokenizer) -> list[dict]:
    state = json.loads(splitter.__getstate__())
    return state["pretokenizers"] if state["type"] == "Sequence" else [state]


def check(splitter: pre_tokenizers.PreTokenizer, beginning: str, endings: list[str]) -> bool:
    """Whether there is an open piece; fails if a text that begins so is split otherwise."""
    piece = open_piece(stages_of(splitter), beginning, len(beginning))
    if piece is None:
        return False
    known = [span for _, span in splitter.pre_tokenize_str(beginning) if span[1] <= piece[0]]
    for ending in endings:
        spans = [span for _, span in splitter.pre_tokenize_str(beginning + ending)]
        assert spans[: len(known)] == known, (beginning, ending, piece)
        opened = spans[len(known)]
        assert opened[0] == piece[0] and opened[1] >= piece[1], (beginning, ending, piece, opened)
    return True


def random_pattern(source: random.Random, depth: int = 0) -> str:
    atoms = ["a", "b", "1", " ", r"\s", r"\p{L}", r"[ab]", r"[^\s1]", r"\w", "'", r"\n", "."]

    def part() -> str:
        atom = source.choice(atoms)
        if depth < 2 and source.random() < 0.3:
            atom = f"({source.choice(['', '?:'])}{random_pattern(source, depth + 1)})"
        return atom + source.choice(["", "", "", "+", "*", "?", "+?", "*?", "??", "{1,3}", "{2}", "{2,}"])

    def sequence() -> str:
        look = source.choice([r"(?!\S)", "(?=a)", r"(?!\w)"]) if source.random() < 0.2 else ""
        return "".join(part() for _ in range(source.randint(1, 3))) + look

    return "|".join(sequence() for _ in range(source.randint(1, 3)))


ENDINGS = ["", *map("".join, itertools.chain(*(itertools.product(LETTERS, repeat=size) for size in (1, 2, 3))))]


@pytest.mark.parametrize(("behavior", "invert"), [("isolated", False), ("removed", False), ("removed", True)])
def test_random_patterns_on_every_short_continuation(behavior: str, invert: bool) -> None:
    source = random.Random(behavior)
    opened = 0
    for _ in range(500):
        pattern = random_pattern(source)
        try:
            SplitMachine(pattern)
        except ValueError:
            continue
        splitter = pre_tokenizers.Split(Regex(pattern), behavior, invert)
        beginning = "".join(source.choice(LETTERS) * source.choice([1, 1, 4]) for _ in range(source.randint(1, 8)))
        opened += check(splitter, beginning, source.sample(ENDINGS, 60))
    assert opened > 40, "the test says nothing if no piece is open"


@pytest.mark.parametrize("pattern", [GPT_2, LLAMA_3, O200K, r"\s?\w+|.", r" ?[^(\s|[.,!?…。，、।۔،])]+"])
def test_patterns_that_models_use(pattern: str) -> None:
    source = random.Random(pattern)
    letters = [*LETTERS, "A", "'S", "'ll", "é", "今", "\r", "  ", "!", "12"]
    endings = ["", *letters, *(one + other for one in letters for other in letters), *(20 * letter for letter in letters)]
    splitters = [pre_tokenizers.Split(Regex(pattern), "isolated")]
    splitters += [pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), splitters[0]])]
    opened = tried = 0
    for splitter in splitters:
        for _ in range(30):
            beginning = "".join(source.choice(letters) * source.choice([1, 1, 30]) for _ in range(source.randint(1, 6)))
            tried += 1
            opened += check(splitter, beginning, endings)
    assert opened > tried / 2


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a)\1",
        r"a++b",
        r"(?>a+)b",
        r"(?<=a)b",
        r"^a+",
        r"a+$",
        r"a\b",
        r"a*",
        r"(a*)*",
        r"[a-",
        r"(a",
        r"a)",
        r"(?!ab)a",
        r"(?i:ss)+",
    ],
)
def test_constructs_that_are_not_known_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="has a construct that is not known here"):
        SplitMachine(pattern)


@pytest.mark.parametrize(
    "splitter",
    [
        pre_tokenizers.Split(Regex("a+"), "merged_with_previous"),
        pre_tokenizers.Split(Regex("a+"), "contiguous"),
        pre_tokenizers.FixedLength(5),
        pre_tokenizers.UnicodeScripts(),
        pre_tokenizers.Split("ab", "isolated"),
        pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Split(Regex("▁a+"), "isolated")]),
    ],
)
def test_splitters_that_are_not_known_leave_no_open_piece(splitter: pre_tokenizers.PreTokenizer) -> None:
    assert open_piece(stages_of(splitter), "a" * 30, 30) is None
