"""Asking any encoder: which method, which keyword arguments, what comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bothways.errors import InputError
from bothways.evaluation.encoding import as_array, encode_texts, normalise
from bothways.evaluation.task import RunOptions

OPTIONS = RunOptions(batch_tokens=512, show_progress_bar=False)


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
    assert encode_texts(Plain(), ["a"], OPTIONS).shape == (1, 2)
    assert encode_texts(Picky(), ["a"], OPTIONS)[0, 0] == 1.0
    ours = Ours()
    encode_texts(ours, ["a"], OPTIONS)
    encode_texts(ours, ["a"], OPTIONS, "query")
    encode_texts(ours, ["a"], RunOptions())
    assert ours.got[:2] == [{"batch_tokens": 512, "show_progress_bar": False}] * 2
    assert ours.got[2] == {"batch_tokens": None, "show_progress_bar": None}


def test_roles_choose_the_method_where_there_is_one():
    values = [float(encode_texts(Ours(), ["a"], OPTIONS, role)[0, 0]) for role in ("symmetric", "query", "document")]
    assert values == [0.0, 1.0, 2.0]
    assert encode_texts(Plain(), ["a"], OPTIONS, "query").shape == (1, 2)


def test_order_survives_encoding_distinct_texts_only():
    class Length:
        def encode(self, texts):
            assert len(set(texts)) == len(texts)
            return torch.tensor([[len(text), 1] for text in texts], dtype=torch.bfloat16)

    vectors = encode_texts(Length(), ["aa", "b", "aa", "cccc", "b"], OPTIONS)
    assert vectors.dtype == np.float32
    assert vectors[:, 0].tolist() == [2, 1, 2, 4, 1]


@pytest.mark.parametrize("given", [torch.ones(2, 3), [torch.ones(3)] * 2, [[1, 1, 1]] * 2, np.ones((2, 3), np.float16)])
def test_any_kind_of_result_becomes_float32(given):
    assert as_array(given).dtype == np.float32
    assert as_array(given).shape == (2, 3)


def test_normalise_leaves_zero_rows():
    assert normalise(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]


def test_wrong_encoders_are_refused():
    class Short:
        def encode(self, texts):
            return np.ones((len(texts) - 1, 2))

    class Infinite:
        def encode(self, texts):
            return np.array([[1.0, np.inf if text == "b" * 99 else 1.0] for text in texts])

    with pytest.raises(InputError, match=r"no encode\(list of texts\)"):
        encode_texts(object(), ["a"], OPTIONS)
    with pytest.raises(InputError, match=r"shape \(1, 2\) for 2 texts"):
        encode_texts(Short(), ["a", "b"], OPTIONS)
    with pytest.raises(InputError, match=r"1 texts, first 'b{57}\.\.\.'"):
        encode_texts(Infinite(), ["a", "b" * 99], OPTIONS)
