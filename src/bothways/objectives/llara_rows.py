"""LLaRA's rows: a text, two questions after it, and the words that the two answers must contain.

    prefix  text  summarize block            predict block
              └ next-token labels   └ special tokens, read   └ special tokens, read

The questions are the encoder's own prompts (`encoder.questions`): "document" asks for a summary,
"query" for the continuation. The states read are those that the encoder's pooling reads at the end
of each block. So adaptation trains exactly the vectors that are used later, and
`Encoder.encode_both` reads both in the same layout. This holds for the causal direction, which is
the published one. A bidirectional text sees its question when it is encoded, but here, with two
questions, it sees neither.

Method: LLaRA (Llama2Vec), arXiv 2312.15503, with the row layout of its released code. This module
handles texts and tokens, and `objectives.llara` handles losses.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from bothways.backbone.adapter.new_tokens import special_ids
from bothways.data.text.passages import Passage
from bothways.data.text.stop_words import content_words
from bothways.encoder.questions import Questions
from bothways.encoder.texts.stored_rows import NumberLists, OnDemand

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bothways.encoder.encoder import Encoder

StopWords = Literal["english", "none"]
TOGETHER = 1000
"""Passages per call of the tokenizer: enough for its threads, but few compared with all of them."""


class LlaraRow(NamedTuple):
    """One passage.

    Args:
        ids: token ids of prefix, text and both blocks.
        begin: index of the text's first token.
        bags: distinct token ids of the words that the summary and the prediction must contain,
            ascending. A bag may be empty.
    """

    ids: list[int]
    begin: int
    bags: tuple[list[int], list[int]]


def make_rows(
    passages: Sequence[Passage],
    encoder: Encoder,
    questions: Questions,
    *,
    max_length: int,
    stop_words: StopWords,
) -> Sequence[LlaraRow]:
    """Tokenize passages. Passages without a token of text are left out.

    Args:
        passages: the passages.
        encoder: the encoder, whose tokenizer and prompts are used.
        questions: its prompts as tokens.
        max_length: tokens of a row with both blocks. The text is cut to fit. Targets are cut to the
            same number of tokens, as in the authors' code.
        stop_words: "english" removes punctuation and English stop words from the targets, "none"
            does not.

    Raises:
        InputError: the length leaves no room for a text.
    """
    hidden = special_ids(encoder.tokenizer)
    ids, begins, bags = NumberLists(), array("i"), (NumberLists(), NumberLists())
    for start in range(0, len(passages), TOGETHER):
        some = passages[start : start + TOGETHER]
        texts = encoder.tokenize(
            [(questions.summarize, passage.input) for passage in some],
            max_length=max_length - len(questions.blocks[1]),
            first=start,
        )
        words = [
            _bags([getattr(each, side) for each in some], encoder, stop_words, max_length, hidden)
            for side in SIDES
        ]
        for number, text in enumerate(texts):
            end = len(text.ids) - len(questions.blocks[0])
            begin = next((i for i in range(end) if text.offsets[i] != (0, 0)), end)
            if begin < end:
                ids.add(text.ids + questions.blocks[1])
                begins.append(begin)
                for kept, found in zip(bags, words):
                    kept.add(found[number])

    def row(number: int) -> LlaraRow:
        return LlaraRow(ids[number], begins[number], (bags[0][number], bags[1][number]))

    return OnDemand(row, range(len(begins)))


SIDES = ("summarize", "predict")


def _bags(
    texts: list[str], encoder: Encoder, stop_words: StopWords, length: int, hidden: set[int]
) -> list[list[int]]:
    cleaned = [content_words(text) if stop_words == "english" else text for text in texts]
    # tokenizers refuse lone surrogates, so each becomes U+FFFD
    valid = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in cleaned]
    found = encoder.tokenizer(valid, add_special_tokens=False, verbose=False)["input_ids"]
    return [sorted(set(ids[:length]) - hidden) for ids in found]


def counter(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[str]], list[int]]:
    """Build a function that counts the tokens of each of several texts."""

    def count(texts: list[str]) -> list[int]:
        valid = [
            text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts
        ]
        return [
            len(ids)
            for ids in tokenizer(valid, add_special_tokens=False, verbose=False)["input_ids"]
        ]

    return count
