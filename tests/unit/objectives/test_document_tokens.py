"""Documents as token ids: each as a whole and in order, however many go to the tokenizer
together.
"""

from __future__ import annotations

from typing import Any

import pytest

from bothways.errors import InputError
from bothways.objectives import document_tokens
from bothways.objectives.document_tokens import end_of_document, tokenized_documents
from tiny import SENTENCES, tiny_tokenizer


class Counted:
    """A tokenizer that records the texts of each call."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str], **options: Any) -> Any:
        self.calls.append(texts)
        return self.tokenizer(texts, **options)


@pytest.mark.parametrize("special", [True, False])
def test_ids_are_those_of_each_document_alone(special: bool) -> None:
    tokenizer = tiny_tokenizer(add_bos=True)
    alone = [tokenizer(text, add_special_tokens=special)["input_ids"] for text in SENTENCES]
    assert list(tokenized_documents(SENTENCES, tokenizer, special=special)) == alone
    if special:
        assert list(tokenized_documents(SENTENCES, tokenizer)) == alone


def test_a_call_of_the_tokenizer_is_bounded_in_texts_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_tokens, "TOGETHER", 3)
    monkeypatch.setattr(document_tokens, "CHARACTERS", 10)
    texts = ["a", "bc", "d", "e", "fghijklmno", "p", "qrstuvwxyz-", "1234", "123456", "7", ""]
    counted = Counted(tiny_tokenizer())
    assert len(list(tokenized_documents(texts, counted))) == len(texts)
    # three texts, then ten characters, then a longer text that has a call of its own
    assert counted.calls == [["a", "bc", "d"], ["e"], ["fghijklmno"], ["p"], ["qrstuvwxyz-"], ["1234", "123456"], ["7", ""]]


def test_lone_surrogates_are_replaced() -> None:
    tokenizer = tiny_tokenizer()
    assert list(tokenized_documents(["a\ud800b"], tokenizer)) == list(tokenized_documents(["a�b"], tokenizer))


def test_a_token_beyond_the_embedding_is_refused_with_its_document() -> None:
    tokenizer = tiny_tokenizer()
    rows = 1 + max(tokenizer("plain")["input_ids"])
    tokenizer.add_tokens(["<new>"])
    with pytest.raises(InputError, match=r"texts\[2\]"):
        list(tokenized_documents(["plain", "plain", "a <new> one"], tokenizer, rows=rows))
    assert len(list(tokenized_documents(["a <new> one"], tokenizer))) == 1


def test_the_end_of_a_document_is_the_tokenizers_end() -> None:
    tokenizer = tiny_tokenizer()
    assert end_of_document(tokenizer, None) == tokenizer.eos_token_id
    with pytest.raises(InputError, match="eos_token"):
        end_of_document(tokenizer, tokenizer.eos_token_id)
    tokenizer.eos_token = None
    assert end_of_document(tokenizer, 1) is None
