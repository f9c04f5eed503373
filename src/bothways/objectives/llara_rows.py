"""LLaRA's rows: a text closed by two questions, and the words that the two answers are to hold.

    prefix  text  summarise block            predict block
            └ next-token labels   └ special tokens, read   └ special tokens, read

The questions are the encoder's own prompts (`encoder.questions`): "document" asks for a summary, "query" for what follows. The states
read are those that the encoder's pooling reads at the end of each block, so that adaptation trains exactly the vectors that are used
later: `Encoder.encode_both` reads both of them in the same layout. That holds for the causal direction, as published:
a bidirectional text sees its question when it is encoded, and here, where there are two, it sees none.

Method: LLaRA (Llama2Vec), arXiv 2312.15503, with the row as its released code lays it out. It stands apart from the objective, which
knows losses: here are texts and tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bothways.backbone.new_tokens import special_ids
from bothways.data.text.passages import Passage
from bothways.data.text.stop_words import content_words
from bothways.encoder.questions import Questions

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

StopWords = Literal["english", "none"]
TOGETHER = 1000
"""Passages handed to the tokenizer at once: enough for its threads, little beside the tokens themselves."""


class LlaraRow(NamedTuple):
    """One passage.

    ids: of prefix, text and both blocks. begin: first token of the text itself. bags: distinct token ids of the words that
    the summary and the prediction are to hold, ascending; empty where there are none.
    """

    ids: list[int]
    begin: int
    bags: tuple[list[int], list[int]]


def make_rows(
    passages: Sequence[Passage], encoder: Encoder, questions: Questions, *, max_length: int, stop_words: StopWords
) -> list[LlaraRow]:
    """Tokenise passages; those without a token of text are left out.

    Args:
        passages: what to tokenise.
        encoder: whose tokenizer and prompts are used.
        questions: its prompts as tokens.
        max_length: tokens of a row with both blocks; the text is cut to fit. Targets are cut to as many tokens, as in the authors' code.
        stop_words: "english" takes punctuation and English stop words off the targets, "none" leaves them as they are.

    Raises:
        InputError: a length that leaves no room for a text.
    """
    hidden = special_ids(encoder.tokenizer)
    rows = []
    for start in range(0, len(passages), TOGETHER):
        some = passages[start : start + TOGETHER]
        texts = encoder.tokenize(
            [(questions.summarize, passage.input) for passage in some],
            max_length=max_length - len(questions.blocks[1]),
            first=start,
        )
        bags = [_bags([getattr(each, side) for each in some], encoder, stop_words, max_length, hidden) for side in SIDES]
        for text, summary, prediction in zip(texts, *bags):
            end = len(text.ids) - len(questions.blocks[0])
            begin = next((i for i in range(end) if text.offsets[i] != (0, 0)), end)
            if begin < end:
                rows.append(LlaraRow(text.ids + questions.blocks[1], begin, (summary, prediction)))
    return rows


SIDES = ("summarize", "predict")


def _bags(texts: list[str], encoder: Encoder, stop_words: StopWords, length: int, hidden: set[int]) -> list[list[int]]:
    cleaned = [content_words(text) if stop_words == "english" else text for text in texts]
    # a lone surrogate, which no tokenizer takes, becomes U+FFFD
    valid = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in cleaned]
    found = encoder.tokenizer(valid, add_special_tokens=False, verbose=False)["input_ids"]
    return [sorted(set(ids[:length]) - hidden) for ids in found]


def counter(tokenizer: Any) -> Callable[[list[str]], list[int]]:
    """Counts the tokens of each of several texts."""

    def count(texts: list[str]) -> list[int]:
        valid = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        return [len(ids) for ids in tokenizer(valid, add_special_tokens=False, verbose=False)["input_ids"]]

    return count
