"""Topic retrieval: name the topic with which a long conversation began.

This is the task of LongChat's LongEval (Li et al. 2023, "How long can open-source LLMs truly
promise on context length?"), which LongLoRA measures at 3k to 16k tokens (arXiv 2309.12307, section
4.2). A conversation wanders from topic to topic, and at its end the prompt asks for the first one.
It is harder than a passkey because every passage looks like every other. The conversations here are
our own (`topics_text.py`), so figures compare models with each other, not with the published table.
As there, longer prompts hold more topics: about one for every 600 tokens.

The prompt ends with the start of a list of the topics ("1."), because a base LLM that was never
taught to answer continues a list. An answer is right if the first entry of the greedy continuation
contains all words of the first topic.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bothways.data.fingerprint import fingerprint_texts
from bothways.errors import InputError
from bothways.evaluation.item_scores import value_items
from bothways.evaluation.language_model import topics_text
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_task import (
    LanguageModelTask,
    check_lengths,
    forbid_argument,
    text_heatmap,
)
from bothways.evaluation.task import MOST, RunOptions, Score
from bothways.progress import Progress

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder

LENGTHS = (1024, 2048, 4096)  # tokens
REPEATS = 10
TOKENS_PER_TOPIC = 600  # as in LongEval: five topics in 3,000 tokens, 25 in 15,000
ANSWER_TOKENS = 20
# A comma ends an entry too: a list of all topics on one line does not say which one came first.
_ENTRY_END = re.compile(r"[,;\r\n]|2\.")


class Conversation(NamedTuple):
    """One prompt: its tokens and its topics in order.

    Attributes:
        ids: at most as many tokens as asked for.
        topics: the topics in the order in which they come up.
    """

    ids: list[int]
    topics: tuple[str, ...]


class Topics(LanguageModelTask):
    """Share of conversations whose first topic is named (main), over all and for each length."""

    kind = "topics"
    main = "accuracy"

    def __init__(
        self, lengths: Sequence[int] = LENGTHS, *, repeats: int = REPEATS, name: str = "topics"
    ) -> None:
        """Describe the prompts.

        They are written later, for the tokenizer of the model that is measured.

        Args:
            lengths: maximal tokens of a prompt. A prompt falls short of it by less than one
                exchange, and its real length is reported.
            repeats: conversations for each length.
            name: name of the task in results.

        Raises:
            InputError: if lengths or repeats are out of range.
        """
        self.lengths = check_lengths(lengths, name)
        if not 1 <= repeats <= MOST:
            raise InputError(
                f"task {name!r}: repeats must be at least 1 and at most {MOST:,} (got {repeats})"
            )
        self.repeats, self.name = repeats, name
        self.fingerprint = fingerprint_texts(topics_text.everything())
        # scores under another rule for right answers are not reused
        self.settings = {
            "lengths": list(self.lengths),
            "repeats": repeats,
            "answer": "the first entry alone",
        }

    @classmethod
    def from_argument(
        cls, argument: str | None, *, lengths: tuple[int, ...] = LENGTHS, repeats: int = REPEATS
    ) -> Topics:
        """Make the task from `topics`, or with options from `topics?lengths=1024,8192&repeats=20`.

        Raises:
            InputError: if something follows a colon, or if a number is out of range.
        """
        forbid_argument(argument, cls.kind)
        return cls(lengths, repeats=repeats)

    def check(self, encoder: AnyEncoder) -> None:
        """Refuse lengths far beyond the model's positions. See `Task.check`."""
        if isinstance(encoder, CausalLM):
            encoder.require_reach(max(self.lengths))

    def measure(self, model: CausalLM, options: RunOptions) -> Score:
        """Write every conversation, then ask. See `LanguageModelTask.measure`."""
        model.require_reach(max(self.lengths))
        flat = [
            c
            for length in self.lengths
            for c in self.conversations(model, length, seed=options.seed)
        ]
        model.require_positions(max(len(conversation.ids) for conversation in flat) + ANSWER_TOKENS)
        answers: list[str] = []
        with Progress("topics", len(flat), "conversations", show=options.show_progress_bar) as bar:
            for conversation in flat:
                answers.append(
                    first_entry(model.decode(model.greedy(conversation.ids, ANSWER_TOKENS)))
                )
                bar.advance()
        right = np.array([float(names(answer, c.topics[0])) for answer, c in zip(answers, flat)])
        tokens = np.array([len(c.ids) for c in flat])
        by_length = right.reshape(len(self.lengths), self.repeats).mean(axis=1).tolist()
        metrics = {"accuracy": float(right.mean())} | {
            f"accuracy[{n}]": value for n, value in zip(self.lengths, by_length)
        }

        def texts(number: int) -> dict[str, str]:
            conversation = flat[number]
            place = f"{len(conversation.ids)} tokens, {len(conversation.topics)} topics"
            return {"prompt": place, "topic": conversation.topics[0], "answer": answers[number]}

        details = {
            **self.settings,
            "accuracy": by_length,
            "tokens": tokens.reshape(len(self.lengths), self.repeats)
            .mean(axis=1)
            .round(1)
            .tolist(),
            "topics": [len(c.topics) for c in flat[:: self.repeats]],
        }
        return Score(metrics, {**details, **value_items(right, texts)})

    def conversations(self, model: CausalLM, length: int, *, seed: int) -> list[Conversation]:
        """Write the prompts of one length.

        They depend on (seed, length, repeat) and the tokenizer alone.

        Raises:
            InputError: if not even two topics without any exchange fit into `length` tokens.
        """
        count = max(2, min(len(topics_text.TOPICS), round(length / TOKENS_PER_TOPIC)))
        made = []
        for repeat in range(self.repeats):
            # Python hashes a string seed with SHA-512, alike on every machine and in every process.
            draw = random.Random(f"topics {seed} {length} {repeat}")
            chosen = draw.sample(topics_text.TOPICS, count)
            talk = [topics_text.exchanges(topic, draw, _most(length, count)) for topic in chosen]
            made.append(Conversation(_longest(model, chosen, talk, length), tuple(chosen)))
        return made

    def picture(self, details: Mapping[str, Any]) -> list[str]:
        """Draw accuracy in percent, with lengths across."""
        return text_heatmap(
            [details["accuracy"]],
            ["first topic"],
            [str(length) for length in details["lengths"]],
            "tokens",
        )


def _most(length: int, count: int) -> int:
    """Return more exchanges than any tokenizer could fit for one topic.

    None of them is shorter than eight tokens.
    """
    return length // (8 * count) + 1


def _longest(
    model: CausalLM, chosen: Sequence[str], talk: Sequence[Sequence[str]], length: int
) -> list[int]:
    """Return the tokens of the longest conversation that fits.

    Its exchanges are spread evenly over the topics.
    """

    def ids(exchanges: int) -> list[int]:
        share, more = divmod(exchanges, len(chosen))
        told = [part[: share + (place < more)] for place, part in enumerate(talk)]
        return model.prompt(topics_text.conversation(chosen, told))

    low, high = 0, sum(map(len, talk))
    if len(ids(low)) > length:
        raise InputError(
            f"topics: a conversation over two topics has {len(ids(low))} tokens; choose a length of that or more"
        )
    while low < high:  # the largest number of exchanges that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(ids(middle)) <= length else (low, middle - 1)
    return ids(low)


def first_entry(answer: str) -> str:
    """Return the first entry of the list that the answer continues.

    It ends at a comma, a semicolon, the second number or the end of the line.
    """
    return _ENTRY_END.split(answer.strip(), maxsplit=1)[0].strip()


def names(answer: str, topic: str) -> bool:
    """Return whether every word of `topic` is a word of `answer`, in any order and case."""
    return _words(topic) <= _words(answer)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
