"""Passkey retrieval: hide a random number in filler text and ask the model for it at the end.

The prompt is that of Landmark Attention (Mohtashami & Jaggi 2023, arXiv 2305.16300), which LongLoRA
(arXiv 2309.12307, section 4.2) measures with: an announcement, filler, the line that holds the key,
filler, the question. Its sentences are the instrument and are kept as published. A prompt counts as
right if the greedy continuation equals the key token by token.

A prompt gets its length in one of two ways, which answer different questions:

- "exact" (default): the filler is cut, to the character, so that the model's own tokenizer counts
  exactly `length` tokens, BOS included. The key is placed at fixed depths. Lengths and depths then
  mean the same for every model, and grids can be compared cell by cell. "Fits 4,096 positions" is a
  claim about tokens.
- "published": the filler has 3.75 characters per token, rounded down to a multiple of 1,024
  characters, and the key is placed at a random depth. The number of tokens depends on the tokenizer
  (about 3.75 characters each with Llama's, often fewer with others). It is measured and reported.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from bothways.data.fingerprint import fingerprint_texts
from bothways.errors import InputError
from bothways.evaluation.item_scores import value_items
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_task import (
    LanguageModelTask,
    check_lengths,
    forbid_argument,
    text_heatmap,
)
from bothways.evaluation.task import MOST, RunOptions, Score
from bothways.nearest import did_you_mean
from bothways.progress import Progress

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder

PasskeyStyle = Literal["exact", "published"]

ANNOUNCEMENT = (
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I will quiz you about the important information there."
)
FILLER = (
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
)
HIDDEN = "The pass key is {key}. Remember it. {key} is the pass key."
QUESTION = "What is the pass key? The pass key is"
KEYS = range(1, 50_000)

LENGTHS = (512, 1024, 2048, 4096)  # tokens
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
REPEATS = {"exact": 3, "published": 10}  # keys for each cell. LongLoRA draws ten for each length
_PER_TOKEN = 3.75  # characters of filler, as published


@dataclass(frozen=True)
class Prompt:
    """One question.

    Attributes:
        text: the whole prompt. The answer follows after a space.
        key: the right number.
        depth: share of the filler that precedes the key, in [0, 1].
        ids: tokens of the prompt.
        answer: tokens of the key as they follow the prompt.
    """

    text: str
    key: int
    depth: float
    ids: list[int]
    answer: list[int]


class Passkey(LanguageModelTask):
    """Share of keys found, over all prompts (main) and for each length.

    The details hold it by length and depth.
    """

    kind = "passkey"
    main = "accuracy"

    def __init__(
        self,
        lengths: Sequence[int] = LENGTHS,
        *,
        depths: Sequence[float] | None = None,
        repeats: int | None = None,
        style: PasskeyStyle = "exact",
        name: str = "passkey",
    ) -> None:
        """Describe the grid.

        Prompts are written later, for the tokenizer of the model that is measured.

        Args:
            lengths: tokens of a prompt.
            depths: positions of the key, as shares of the filler in [0, 1]. If None, "exact" uses
                0, ¼, ½, ¾ and 1, and "published" draws one at random for each prompt.
            repeats: prompts for each cell, each with its own key. If None, 3 for "exact" and 10 for
                "published".
            style: how a prompt gets its length, see the top of this file.
            name: name of the task in results.

        Raises:
            InputError: if lengths, depths or repeats are out of range, or if the style is unknown.
        """
        if style not in get_args(PasskeyStyle):
            raise InputError(
                f"task {name!r}: style must be one of {', '.join(get_args(PasskeyStyle))} (got {style!r})"
                f"{did_you_mean(style, get_args(PasskeyStyle))}"
            )
        chosen = DEPTHS if depths is None and style == "exact" else depths
        if chosen is not None and not (
            chosen and all(0 <= depth <= 1 for depth in chosen) and len(set(chosen)) == len(chosen)
        ):
            raise InputError(
                f"task {name!r}: depths must be different numbers from 0 to 1 (got {tuple(chosen)})"
            )
        self.lengths = check_lengths(lengths, name)
        self.depths = None if chosen is None else tuple(sorted(map(float, chosen)))
        self.repeats = REPEATS[style] if repeats is None else repeats
        if not 1 <= self.repeats <= MOST:
            raise InputError(
                f"task {name!r}: repeats must be at least 1 and at most {MOST:,} (got {repeats})"
            )
        self.style: PasskeyStyle = style
        self.name = name
        self.fingerprint = fingerprint_texts([ANNOUNCEMENT, FILLER, HIDDEN, QUESTION])
        self.settings = {
            "lengths": list(self.lengths),
            "depths": None if self.depths is None else list(self.depths),
            "repeats": self.repeats,
            "style": style,
        }

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        lengths: tuple[int, ...] = LENGTHS,
        depths: tuple[float, ...] | None = None,
        repeats: int | None = None,
        style: PasskeyStyle = "exact",
    ) -> Passkey:
        """Make the task from `passkey`, or with options.

        For example, `passkey?lengths=1024,4096&depths=0,0.5,1&repeats=10&style=published`.

        Raises:
            InputError: if something follows a colon, or if a number is out of range.
        """
        forbid_argument(argument, cls.kind)
        return cls(lengths, depths=depths, repeats=repeats, style=style)

    def check(self, encoder: AnyEncoder) -> None:
        """Refuse lengths far beyond the model's positions. See `Task.check`."""
        if isinstance(encoder, CausalLM):
            encoder.require_reach(max(self.lengths))

    def measure(self, model: CausalLM, options: RunOptions) -> Score:
        """Write every prompt, then ask. See `LanguageModelTask.measure`."""
        model.require_reach(max(self.lengths))
        rows = self.depths or (None,)
        prompts = [
            p
            for n in self.lengths
            for depth in rows
            for p in self.prompts(model, n, depth, seed=options.seed)
        ]
        model.require_positions(max(len(prompt.ids) + len(prompt.answer) for prompt in prompts))
        answers: list[list[int]] = []
        with Progress("passkey", len(prompts), "prompts", show=options.show_progress_bar) as bar:
            for prompt in prompts:
                answers.append(model.greedy(prompt.ids, len(prompt.answer)))
                bar.advance()
        grid = (len(self.lengths), len(rows), self.repeats)
        right = np.array(
            [float(answer == prompt.answer) for answer, prompt in zip(answers, prompts)]
        )
        tokens = np.array([len(prompt.ids) for prompt in prompts]).reshape(grid)
        by_length = right.reshape(grid).mean(axis=(1, 2)).tolist()
        metrics = {"accuracy": float(right.mean())} | {
            f"accuracy[{n}]": value for n, value in zip(self.lengths, by_length)
        }

        def texts(number: int) -> dict[str, str]:
            prompt = prompts[number]
            place = f"{len(prompt.ids)} tokens, key after {prompt.depth:.0%} of the filler"
            return {
                "prompt": place,
                "key": str(prompt.key),
                "answer": model.decode(answers[number]).strip(),
            }

        details = {
            **self.settings,
            "accuracy": right.reshape(grid)
            .mean(axis=2)
            .T.tolist(),  # a row for each depth, a column for each length
            "tokens": tokens.mean(axis=(1, 2)).round(1).tolist(),
        }
        return Score(metrics, {**details, **value_items(right, texts)})

    def prompts(
        self, model: CausalLM, length: int, depth: float | None, *, seed: int
    ) -> list[Prompt]:
        """Write the prompts of one cell.

        They depend on (seed, length, depth, repeat) and the tokenizer alone, whatever else is
        measured.

        Args:
            model: the model with the tokenizer that counts.
            length: tokens of a prompt. "published" derives the number of characters from it.
            depth: share of the filler before the key. If None, it is drawn.
            seed: seed of keys and drawn depths.

        Raises:
            InputError: if `length` is shorter than the prompt without filler, or cannot be met
                exactly.
        """
        made: list[Prompt] = []
        characters = published_characters(length)
        for repeat in range(self.repeats):
            # Python hashes a string seed with SHA-512, alike on every machine and in every process.
            draw = random.Random(f"passkey {seed} {length} {depth} {repeat}")
            key = draw.choice(KEYS)
            place = draw.random() if depth is None else depth

            def count(filler: int, place: float = place, key: int = key) -> int:
                return len(model.prompt(write(filler, place, key)))

            if self.style == "exact":
                characters = fit(count, length, guess=characters)
            text = write(characters, place, key)
            made.append(Prompt(text, key, place, *continuation(model, text, f" {key}")))
        return made

    def picture(self, details: Mapping[str, Any]) -> list[str]:
        """Draw accuracy in percent, with depths down and lengths across."""
        rows = [f"{depth:.0%}" for depth in details["depths"] or ()] or ["random"]
        return text_heatmap(
            details["accuracy"], rows, [str(length) for length in details["lengths"]], "depth"
        )


def write(filler: int, depth: float, key: int) -> str:
    """Return the prompt's text, with each part on a line of its own.

    Args:
        filler: characters of filler.
        depth: share of the filler before the key, in [0, 1].
        key: the number to hide.
    """
    before = round(filler * depth)
    endless = FILLER * (filler // len(FILLER) + 1)
    return "\n".join(
        (
            ANNOUNCEMENT,
            endless[:before],
            HIDDEN.format(key=key),
            endless[: filler - before],
            QUESTION,
        )
    )


def published_characters(tokens: int) -> int:
    """Return the characters of filler that LongLoRA's script uses for a number of tokens."""
    return int(_PER_TOKEN * tokens) // 1024 * 1024


def fit(count: Callable[[int], int], length: int, *, guess: int = 0) -> int:
    """Return the number of characters of filler for which `count` gives exactly `length` tokens.

    The count rises by about one token for every four characters, but unevenly: a cut inside a word
    can add a token or save one. So the search first approaches the place by the rate measured so
    far, and then tries its neighborhood from the center outwards.

    Args:
        count: maps characters of filler to tokens of the whole prompt.
        length: number of tokens wanted.
        guess: number of characters to start from.

    Raises:
        InputError: if the prompt without filler is longer, or if no number of characters near the
            right place gives `length`.
    """
    least = count(0)
    if least > length:
        raise InputError(
            f"passkey: the prompt has {least} tokens without any filler; choose a length of {least} or more"
        )
    place, rate = guess, _PER_TOKEN
    for _ in range(6):
        off = length - count(place)
        if off == 0:
            return place
        place = max(0, place + round(off * rate))
        rate = place / max(count(place) - least, 1) or _PER_TOKEN
    for distance in range(2 * len(FILLER)):
        for near in {place - distance, place + distance}:
            if near >= 0 and count(near) == length:
                return near
    raise InputError(
        f"passkey: no amount of filler gives exactly {length} tokens with this tokenizer; use style=published"
    )


def continuation(model: CausalLM, text: str, answer: str) -> tuple[list[int], list[int]]:
    """Return the tokens of a text, and the tokens that an answer after it adds.

    If the tokenizer joins the seam into one token, the model has to produce that token: the prompt
    ends before it.
    """
    whole, alone = model.prompt(text + answer), model.prompt(text)
    shared = next(
        (place for place, (a, b) in enumerate(zip(whole, alone)) if a != b),
        min(len(whole), len(alone)),
    )
    return whole[:shared], whole[shared:]
