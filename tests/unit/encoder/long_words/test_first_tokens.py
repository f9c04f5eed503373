"""The tokens proved for a word's beginning, against the tokens of every way in which random small
models let the word go on.
"""

from __future__ import annotations

import itertools
import random

import pytest
from tokenizers import Tokenizer, models

from bothways.encoder.long_words.first_tokens import FirstTokens


def random_bpe(source: random.Random, kind: str) -> Tokenizer:
    """Merges in a random order. Half of the models have entries whose parts are merged later, as no
    trainer would.

    With "unknown", `c` is not an entry, and with "bytes", it is one byte.
    """
    letters = "abc" if kind in ("bpe", "bpe-whole-words") else "ab"
    extra = ["<unk>", "<0x63>"] if kind == "bpe-bytes" else ["<unk>"]
    entries, merges = [*letters], []
    for _ in range(source.randint(2, 14)):
        pair = source.choice(entries), source.choice(entries)
        if len("".join(pair)) <= 6 and pair not in merges:
            merges.append(pair)
            entries += ["".join(pair)] if "".join(pair) not in entries else []
    if source.random() < 0.5:
        source.shuffle(merges)
    vocab = {entry: number for number, entry in enumerate([*entries, *extra])}
    return Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=merges,
            ignore_merges=kind == "bpe-whole-words",
            unk_token="<unk>",
            fuse_unk=source.random() < 0.5,
            byte_fallback=kind == "bpe-bytes",
        )
    )


def random_unigram(source: random.Random) -> Tokenizer:
    """Few different scores, so that ways tie."""
    entries = ["<unk>", *"abc"]
    while len(entries) < 12:
        entry = "".join(source.choice("abc") for _ in range(source.randint(2, 5)))
        entries += [entry] if entry not in entries else []
    return Tokenizer(models.Unigram([(entry, -float(source.randint(1, 6))) for entry in entries], unk_id=0))


def random_word(source: random.Random, size: int) -> str:
    """Runs of one letter, repeated pairs and noise."""
    word = ""
    while len(word) < size:
        part = "".join(source.choice("abc") for _ in range(source.randint(1, 3)))
        word += part * source.choice([1, 1, 5, 20])
    return word[:size]


@pytest.mark.parametrize("kind", ["bpe", "bpe-whole-words", "bpe-unknown", "bpe-bytes", "unigram"])
def test_no_continuation_changes_the_tokens_that_are_proved(kind: str) -> None:
    source = random.Random(kind)
    endings = [list(map("".join, itertools.product("abc", repeat=size))) for size in (1, 2, 3, 4)]
    proved_words = 0
    for _ in range(80):
        raw = random_unigram(source) if kind == "unigram" else random_bpe(source, kind)
        prover = FirstTokens(raw)
        for size in (14, 40, 90):
            word = random_word(source, size)
            proved = prover.of(word)
            proved_words += bool(proved)
            several = [ending + random_word(source, 30) for ending in source.sample(endings[3], 10)]
            for ending in ["", *itertools.chain(*endings[:3]), *several]:
                tokens = [token.id for token in raw.model.tokenize(word + ending)]
                assert tokens[: len(proved)] == proved, (word, ending)
    assert proved_words > 120, "the test says nothing if nothing is proved"


def test_a_run_of_equal_letters_is_proved_nearly_to_its_end() -> None:
    raw = Tokenizer(models.BPE(vocab={"a": 0, "aa": 1, "aaaa": 2}, merges=[("a", "a"), ("aa", "aa")]))
    assert FirstTokens(raw).of("a" * 1000) == [2] * 246  # but for four times the longest entry


def test_a_change_that_runs_from_the_end_to_the_beginning_proves_nothing() -> None:
    """`xy` loses its `y` to `z` behind it, which frees the `x` for the `y` before it, and so on."""
    vocab = {"x": 0, "y": 1, "z": 2, "yz": 3, "xyz": 4, "yx": 5, "xy": 6}
    backwards = Tokenizer(models.BPE(vocab=vocab, merges=[("y", "z"), ("x", "y"), ("y", "x")]))
    assert FirstTokens(backwards).of("xy" * 50)[:40] == [6] * 40  # one rank decides, from the left
    # A chain of entries, each of which takes the last letter of the one before it.
    letters = "abcdefghijklmnop"
    pairs = [(letters[i], letters[i + 1]) for i in range(len(letters) - 2, -1, -1)]
    entries = [*letters, *map("".join, pairs)]
    chain = Tokenizer(models.BPE(vocab={entry: number for number, entry in enumerate(entries)}, merges=pairs))
    assert chain.encode(letters).tokens[0] == "ab"
    assert chain.encode(letters[:-1]).tokens[0] == "a"
    assert FirstTokens(chain).of(letters[:-1]) == []
    assert FirstTokens(chain).of("aaaa" + letters[:-1])[:3] == [0, 0, 0]


@pytest.mark.parametrize(
    "model",
    [
        models.BPE(vocab={"a": 0, "aa": 1}, merges=[("a", "a")], dropout=0.1),
        models.BPE(vocab={"a": 0, "##a": 1, "aa": 2}, merges=[("a", "##a")], continuing_subword_prefix="##"),
        models.BPE(vocab={"a": 0, "a</w>": 1, "aa": 2}, merges=[("a", "a")], end_of_word_suffix="</w>"),
        models.WordPiece(vocab={"[UNK]": 0, "a": 1, "##a": 2}, unk_token="[UNK]"),
    ],
)
def test_models_that_read_the_end_of_a_word_or_draw_at_random_are_left_out(model: models.Model) -> None:
    assert FirstTokens(Tokenizer(model)).of("a" * 100) == []


def test_unknown_characters_at_the_cut_may_be_part_of_a_longer_unknown_token() -> None:
    vocab = {"<unk>": 0, "a": 1, "aa": 2}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "a")], unk_token="<unk>", fuse_unk=True))
    assert FirstTokens(raw).of("a" * 100 + "é") == FirstTokens(raw).of("a" * 100)
    assert FirstTokens(raw).of("é" * 100) == []
    assert FirstTokens(raw).of("é" * 100 + "a" * 40)[:2] == [0, 2]


def test_entries_that_join_the_unknown_token_to_others_prove_nothing() -> None:
    vocab = {"<unk>": 0, "a": 1, "<unk>a": 2}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=[("<unk>", "a")], unk_token="<unk>", fuse_unk=True))
    assert FirstTokens(raw).of("a" * 100) == []
