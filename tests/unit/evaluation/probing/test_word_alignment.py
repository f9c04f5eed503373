"""Tokens of words against a naive search by characters, for several tokenizers; the two alignments
by hand.
"""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bothways.encoder.batch import TokenRow
from bothways.encoder.texts.tokenization import TextTokenizer
from bothways.errors import InputError
from bothways.evaluation.probing.word_alignment import (
    aligned,
    average,
    default_alignment,
    front_token,
    join_words,
    tokens_of_words,
)
from tiny import SENTENCES, tiny_tokenizer

WORDS = [
    *" ".join(SENTENCES).split(),
    "1996-08-22",
    "😀👩‍👩‍👧",
    "Ω",
    "naïve",
    "…",
    "天気",
    "x" * 40,
    "\u0301",
    "B-52s",
    "'s",
    "?",
]


def bpe(pre_tokenizer, post=None) -> PreTrainedTokenizerFast:
    """A BPE behind any pre-tokenizer; None lets it merge across blanks."""
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    if pre_tokenizer is not None:
        raw.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<unk>", "<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([*SENTENCES, " ".join(WORDS)], trainer)
    if post is not None:
        raw.post_processor = post
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="<s>")


TOKENIZERS = {
    "byte level, blank at the front of a word": lambda: tiny_tokenizer(add_bos=True),
    "byte level, offsets without blanks": lambda: bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), processors.ByteLevel()),
    "digits alone, so that a blank may stand alone": lambda: bpe(
        pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    ),
    "metaspace": lambda: bpe(pre_tokenizers.Metaspace(prepend_scheme="first")),
    "blanks in no token": lambda: bpe(pre_tokenizers.Whitespace()),
    "tokens across blanks": lambda: bpe(None),
}


def naive(offsets, places, text):
    """Each token asks, character by character, whose words it covers; a token of blanks goes to the
    word behind them.
    """
    owner = {i: word for word, (a, b) in enumerate(places) for i in range(a, b)}
    members = [[] for _ in places]
    for token, (a, b) in enumerate(offsets):
        covered = sorted({owner[i] for i in range(a, b) if i in owner})
        if not covered and a < b:
            covered = [owner[i] for i in range(b, len(text)) if i in owner][:1]
        for word in covered:
            members[word].append(token)
    return members


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokens_of_words_as_a_search_by_characters(name):
    tokenizer = TextTokenizer(TOKENIZERS[name]())
    chosen = random.Random(0)
    shared = 0
    for _ in range(200):
        words = chosen.choices(WORDS, k=chosen.randint(1, 12))
        text, places = join_words(words)
        assert [text[a:b] for a, b in places] == words
        row = tokenizer([text])[0]
        found = tokens_of_words(row.offsets, places)
        assert found == naive(row.offsets, places, text)
        assert all(found)  # nothing here is dropped by these tokenizers
        shared += sum(map(len, found)) - len({token for tokens in found for token in tokens})
    assert (shared > 0) == (name == "tokens across blanks")


def test_the_example_of_llm2vec():
    # BOS a1 | b1 b2 | c1
    states = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    row = TokenRow([1, 10, 11, 12, 13], [True] * 5, [(0, 0), (0, 1), (1, 3), (3, 4), (4, 6)])
    members = tokens_of_words(row.offsets, [(0, 1), (2, 4), (5, 6)])
    assert members == [[1], [2, 3], [4]]
    same, places = aligned(row, members, "same_token", 9)
    assert same is row
    np.testing.assert_allclose(average(states, places), [states[1], (states[2] + states[3]) / 2, states[4]], atol=1e-7)
    same, places = aligned(row, members, "next_token", 9)
    assert same is row  # BOS is there already
    np.testing.assert_allclose(average(states, places), [states[0], (states[1] + states[2]) / 2, states[3]], atol=1e-7)


def test_without_bos_a_token_is_put_in_front_for_next_token_only():
    row = TokenRow([10, 11, 12], [True] * 3, [(0, 1), (1, 3), (3, 4)])
    members = [[0], [1, 2]]
    assert aligned(row, members, "same_token", 9) == (row, members)
    longer, places = aligned(row, members, "next_token", 9)
    assert longer == TokenRow([9, 10, 11, 12], [False, True, True, True], [(0, 0), (0, 1), (1, 3), (3, 4)])
    assert places == [[0], [1, 2]]  # EOS for the first word, 10 and 11 for the second: one place earlier in the longer row
    with pytest.raises(InputError, match="neither EOS nor BOS"):
        aligned(row, members, "next_token", None)
    assert front_token(tiny_tokenizer()) == tiny_tokenizer().eos_token_id
    assert front_token(tiny_tokenizer(eos=None)) == tiny_tokenizer(eos=None).bos_token_id
    assert front_token(tiny_tokenizer(eos=None, bos=None)) is None


def test_a_word_that_was_cut_off_gets_zeros():
    vectors = average(np.ones((3, 2), dtype=np.float16), [[0], [], [1, 2], []])
    assert vectors.tolist() == [[1, 1], [0, 0], [1, 1], [0, 0]]
    assert average(np.ones((3, 2)), [[]]).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        ({}, "same_token"),
        (None, "same_token"),
        ({"stages": []}, "same_token"),
        ({"stages": [{"name": "simcse", "objective": {"kind": "contrastive"}}]}, "same_token"),
        ({"stages": [{"name": "one", "objective": {"kind": "mntp"}}]}, "next_token"),
        (
            {"stages": [{"name": "mntp", "objective": {"kind": "mntp"}}, {"name": "simcse", "objective": {"kind": "c"}}]},
            "next_token",
        ),
        ({"stages": [{"name": "no-mntp", "objective": {"kind": "contrastive"}}]}, "same_token"),
        ({"stages": [{"name": "LLM2Vec-Sheared-LLaMA-mntp"}]}, "next_token"),
        ({"source": "llm2vec", "stages": [{"name": "4a7e98d7"}]}, "next_token"),
        ({"source": "llm2vec", "stages": []}, "same_token"),
    ],
)
def test_the_default_follows_the_provenance(provenance, expected):
    assert default_alignment(SimpleNamespace(provenance=provenance)) == expected
