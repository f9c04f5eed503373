"""Asking any encoder: which method, which keyword arguments, what comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bothways.errors import InputError
from bothways.search.vectors import Vectors, as_array, encode_texts
from bothways.similarity import unit

OPTIONS = {"batch_tokens": 512, "show_progress_bar": False}


class Plain:
    def encode(self, texts):
        return np.ones((len(texts), 2))


class Ours:
    """Like ours: encode names its options, encode_query passes on whatever it gets."""

    def __init__(self):
        self.got = []

    def encode(self, texts, batch_tokens=None, show_progress_bar=None, role=0):
        self.got.append({"batch_tokens": batch_tokens, "show_progress_bar": show_progress_bar})
        return np.full((len(texts), 2), float(role))

    def encode_query(self, texts, **options):
        return self.encode(texts, role=1, **options)

    def encode_document(self, texts, **options):
        return self.encode(texts, role=2, **options)


class Picky:
    """Like SentenceTransformer: takes any keyword, refuses those it does not know."""

    def encode(self, texts, show_progress_bar=None, **kwargs):
        assert not kwargs
        return np.full((len(texts), 2), float(show_progress_bar is False))


def test_only_named_options_are_handed_on():
    assert encode_texts(Plain(), ["a"], **OPTIONS).shape == (1, 2)
    assert encode_texts(Picky(), ["a"], **OPTIONS)[0, 0] == 1.0
    ours = Ours()
    encode_texts(ours, ["a"], **OPTIONS)
    encode_texts(ours, ["a"], "query", **OPTIONS)
    encode_texts(ours, ["a"])
    assert ours.got[:2] == [{"batch_tokens": 512, "show_progress_bar": False}] * 2
    assert ours.got[2] == {"batch_tokens": None, "show_progress_bar": None}


def test_roles_choose_the_method_where_there_is_one():
    values = [float(encode_texts(Ours(), ["a"], role, **OPTIONS)[0, 0]) for role in ("symmetric", "query", "document")]
    assert values == [0.0, 1.0, 2.0]
    assert encode_texts(Plain(), ["a"], "query", **OPTIONS).shape == (1, 2)


def test_order_survives_encoding_distinct_texts_only():
    class Length:
        def encode(self, texts):
            assert len(set(texts)) == len(texts)
            return torch.tensor([[len(text), 1] for text in texts], dtype=torch.bfloat16)

    vectors = encode_texts(Length(), ["aa", "b", "aa", "cccc", "b"], **OPTIONS)
    assert vectors.dtype == np.float32
    assert vectors[:, 0].tolist() == [2, 1, 2, 4, 1]


@pytest.mark.parametrize("given", [torch.ones(2, 3), [torch.ones(3)] * 2, [[1, 1, 1]] * 2, np.ones((2, 3), np.float16)])
def test_any_kind_of_result_becomes_float32(given):
    assert as_array(given).dtype == np.float32
    assert as_array(given).shape == (2, 3)


def test_unit_leaves_zero_rows():
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]


def test_wrong_encoders_are_refused():
    class Short:
        def encode(self, texts):
            return np.ones((len(texts) - 1, 2))

    class Infinite:
        def encode(self, texts):
            return np.array([[1.0, np.inf if text == "b" * 99 else 1.0] for text in texts])

    with pytest.raises(InputError, match=r"does not have a method encode\(list of texts\)"):
        encode_texts(object(), ["a"], **OPTIONS)
    with pytest.raises(InputError, match=r"shape \(1, 2\) for 2 texts"):
        encode_texts(Short(), ["a", "b"], **OPTIONS)
    with pytest.raises(InputError, match=r"1 texts, first 'b{57}\.\.\.'"):
        encode_texts(Infinite(), ["a", "b" * 99], **OPTIONS)


class Stored:
    """Has stored prompts, which a prompt that is given replaces."""

    def encode(self, texts, prompt="stored: "):
        return np.array([[len(prompt + text), 1] for text in texts])

    def encode_query(self, texts, **options):
        return self.encode(texts, **{"prompt": "query: ", **options})


class Bare:
    """Takes texts only."""

    def encode(self, texts):
        return np.array([[len(text), 1] for text in texts])


class BareSides(Bare):
    def encode_query(self, texts):
        return self.encode(["?" + text for text in texts])


@pytest.mark.parametrize(
    ("encoder", "role", "lengths"),
    [  # lengths of what is encoded for "ab" with the prompts None, "" and "Find: "
        (Stored(), "symmetric", [10, 2, 8]),
        (Stored(), "query", [9, 2, 8]),
        (Bare(), "symmetric", [2, 2, 8]),
        (Bare(), "document", [2, 2, 8]),
        (BareSides(), "query", [3, 3, 9]),
        (lambda texts: [[len(text), 1] for text in texts], "query", [2, 2, 8]),
    ],
)
def test_one_rule_for_prompts(encoder, role, lengths):
    """The argument if the encoder names it, else the beginning of the text, in evaluation and in
    mining.
    """
    for prompt, length in zip((None, "", "Find: "), lengths):
        plain = encode_texts(encoder, ["ab"], role, prompt=prompt)
        assert plain.tolist() == [[length, 1]]
        assert Vectors(encoder)(["ab"], role, prompt) == pytest.approx(unit(plain))
