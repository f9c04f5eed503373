"""Prompts around a text: tokens, pool mask, truncation, what is refused."""

from __future__ import annotations

import pytest

from bothways.encoder.texts.tokenization import TextTokenizer
from bothways.encoder.texts.wrapping import Wrapper
from bothways.errors import InputError
from tiny import SENTENCES, tiny_tokenizer

TEMPLATE = '"{text}", in one word: <s>{eos}'


def around(text: str, template: str = TEMPLATE, **options):
    tokenizer = tiny_tokenizer(**options.pop("tokenizer", {}))
    return tokenizer, TextTokenizer(tokenizer, **options)([(template, text)])[0]


@pytest.mark.parametrize("text", [*SENTENCES, 'ends with "quotes".', "", "{text}", " blanks "])
@pytest.mark.parametrize("added", [{}, {"add_bos": True}, {"add_bos": True, "add_eos": True}], ids=str)
def test_rows_are_prefix_text_and_the_same_closing_tokens(text, added):
    tokenizer, row = around(text, tokenizer=added)
    closing = tokenizer('", in one word: ', add_special_tokens=False)["input_ids"] + [
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    ]
    opening = [tokenizer.bos_token_id] if added else []
    assert row.ids == opening + tokenizer('"' + text, add_special_tokens=False)["input_ids"] + closing
    first = len(opening) + 1
    if text:
        assert row.pool == [i >= row.pool.index(True) for i in range(len(row.ids))] and row.pool.index(True) in (
            first - 1,
            first,
        )
        assert [span for span in row.offsets if span != (0, 0)][-1][1] == len(text)
    assert row.offsets[-len(closing) :] == [(0, 0)] * len(closing)
    assert row.blocks == ()


def test_truncation_takes_tokens_off_the_text_alone():
    tokenizer, whole = around(SENTENCES[0], tokenizer={"add_bos": True, "add_eos": True})
    closing = len(tokenizer('", in one word: <s></s>', add_special_tokens=False)["input_ids"])
    text = len(whole.ids) - closing
    for length in range(closing + 3, len(whole.ids) + 2):
        _, row = around(SENTENCES[0], tokenizer={"add_bos": True, "add_eos": True}, max_length=length)
        kept = min(text, length - closing)
        assert row.ids == whole.ids[:kept] + whole.ids[text:] and len(row.pool) == len(row.offsets) == len(row.ids)
    with pytest.raises(InputError, match=r"texts\[0\]: max_length 3 leaves no token"):
        around(SENTENCES[0], max_length=3)


def test_a_template_that_only_says_where_the_text_stands_is_a_plain_prompt():
    options = {"tokenizer": {"add_bos": True, "add_eos": True}}
    assert around("A cat", "find: {text}", **options)[1] == around("A cat", "find: ", **options)[1]


def test_wrappers_go_around_templates():
    tokenizer, row = around("A cat", "say {text} now", wrapper=Wrapper("[", "]"))
    plain = (
        tokenizer("[say A cat", add_special_tokens=False)["input_ids"]
        + tokenizer(" now]", add_special_tokens=False)["input_ids"]
    )
    assert row.ids == plain


def test_rows_of_several_prompts_in_one_call():
    tokenizer = TextTokenizer(tiny_tokenizer())
    pairs = [("{text} one", "A cat"), ("", "A cat"), ("find: ", "A cat"), ("{text} one", "It rains")]
    assert tokenizer(pairs) == [tokenizer([pair])[0] for pair in pairs]


def test_what_cannot_be_a_template():
    with pytest.raises(InputError, match="appears twice"):
        around("a", "{text} and {text}")
    with pytest.raises(InputError, match="needs an EOS token, but the tokenizer has none"):
        around("a", "{text} {eos}", tokenizer={"eos": None})


@pytest.mark.parametrize(
    "settings", [{"truncation": True, "max_length": 3}, {"padding": "max_length", "max_length": 40}], ids=str
)
def test_what_a_tokenizer_was_last_used_for_changes_no_question(settings):
    tokenizer, expected = around(SENTENCES[0])
    tokenizer([SENTENCES[1]], **settings)
    assert TextTokenizer(tokenizer)([(TEMPLATE, SENTENCES[0])])[0].ids == expected.ids
