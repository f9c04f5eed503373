"""Perplexity over sliding windows: how well a language model predicts a long text.

The context is a given number of tokens. There are two protocols. They give different numbers and
must never share a table:

- "all" is the protocol that LongLoRA publishes (arXiv 2309.12307, section 4.2, and its `eval.py`,
  after Landmark Attention). Each window of `length` tokens is read alone. Its loss is the mean over
  *all* its predicted positions, including those with little context. The losses of the windows are
  averaged and exponentiated. Only complete windows count. (The released script also leaves out the
  last complete window. Among thousands of windows this does not show.)
- "new" is the usual protocol. Every token of the text is scored once. It has at least `length -
  stride` tokens before it, unless it is nearer to the start of the text. The last window may be
  shorter.

Windows overlap, but nothing is reused between them: under causal attention the state of a token
depends on the start of its window.

Attention is full, unless shifted groups are requested. LongLoRA compares both for a model that was
trained in groups. Each window is then cut into groups of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from bothways.attention.shifted import ShiftedGroups
from bothways.data.fingerprint import fingerprint_texts
from bothways.data.text.documents import DocumentUnit, read_documents
from bothways.encoder.inference import CPU_TOKENS, GPU_TOKENS
from bothways.encoder.texts.embedding_rows import check_embedded, embedding_rows
from bothways.errors import InputError
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_task import LanguageModelTask
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score
from bothways.moved import old_names
from bothways.nearest import did_you_mean
from bothways.progress import Progress

ScoredPasses = Literal["all", "new"]

LENGTH = 2048  # tokens; the shortest context of LongLoRA's tables
STRIDE = 256  # tokens; LongLoRA's


class ScoredWindow(NamedTuple):
    """Tokens [start, end) of the stream. The last `scored` of them are scored."""

    start: int
    end: int
    scored: int


class Perplexity(LanguageModelTask):
    """Perplexity (main) and mean loss in nats per scored token. Lower is better for both.

    Perplexity cannot be a dev metric, because those choose the highest value.
    """

    kind = "perplexity"
    main = "perplexity"
    higher_is_better = False

    def __init__(
        self,
        texts: Sequence[str],
        *,
        name: str,
        length: int = LENGTH,
        stride: int | None = None,
        windows: int | None = None,
        scored: ScoredPasses = "all",
        shifted: ShiftedGroups | None = None,
    ) -> None:
        """Keep the texts and check the options.

        Args:
            texts: documents. They become one stream of tokens, with an EOS between two of them.
            name: name of the task in results.
            length: tokens of a window, at least 2.
            stride: tokens between the starts of neighboring windows, from 1 to `length`, or to
                `length` - 1 with "new". If None, 256, or the largest possible value for shorter
                windows.
            windows: number of windows to measure, from the start. If None, measure all.
            scored: the protocol, see the top of this file.
            shifted: `ShiftedGroups(at_test=True)` runs each window in shifted groups. If None,
                attention is full.

        Raises:
            InputError: if there are no texts, if a number is out of range, or if the groups would
                not be run or would let a token see the one it predicts.
        """
        if not texts:
            raise InputError(f"task {name!r}: no texts; give at least one")
        stride = _stride(name, length, stride, scored)
        if windows is not None and windows < 1:
            raise InputError(f"task {name!r}: windows must be at least 1 (got {windows})")
        _check_groups(shifted, name)
        self.texts, self.name = list(texts), name
        self.length, self.stride, self.limit = length, stride, windows
        self.scored: ScoredPasses = scored
        self.shifted = shifted
        self.fingerprint = fingerprint_texts(texts)
        groups: dict[str, Any] = {} if shifted is None else {"shifted": dataclasses.asdict(shifted)}
        self.settings = {
            "length": length,
            "stride": stride,
            "windows": windows,
            "scored": scored,
            **groups,
        }

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        length: int = LENGTH,
        stride: int | None = None,
        windows: int | None = None,
        scored: ScoredPasses = "all",
        shifted: bool = False,
        column: str | None = None,
        unit: DocumentUnit = "auto",
    ) -> Perplexity:
        """Make the task from `perplexity:TEXT`, with any source of documents.

        For example, `perplexity:book.txt?length=8192&stride=256&windows=100&scored=new`.

        Args:
            argument: the source, see `bothways.data.text.documents`.
            length: see `Perplexity`.
            stride: see `Perplexity`.
            windows: see `Perplexity`.
            scored: see `Perplexity`.
            shifted: if True, run each window in shifted groups, as published.
            column: column of the documents.
            unit: the documents of .txt files. "auto" reads a whole file or its marked articles,
                "line" reads every line as one.

        Raises:
            InputError: if the source is missing or cannot be read, or if a number is out of range.
        """
        source = require_argument(argument, cls.kind)
        texts = read_documents(source, column=column, unit=unit, splits="held_out")
        groups = ShiftedGroups(at_test=True) if shifted else None
        name = f"{cls.kind}:{source}"
        return cls(
            texts,
            name=name,
            length=length,
            stride=stride,
            windows=windows,
            scored=scored,
            shifted=groups,
        )

    def measure(self, model: CausalLM, options: RunOptions) -> Score:
        """Run every window. See `LanguageModelTask.measure`."""
        stream = self._stream(model)
        windows = list(self._windows(len(stream)))[: self.limit]
        if not windows:
            raise InputError(
                f"{self.name}: the text has {len(stream)} tokens, fewer than one window of {self.length}; "
                f"choose length={max(len(stream), 2)} or less, or a longer text"
            )
        model.require_positions(max(window.end - window.start for window in windows))
        losses: list[float] = []
        with Progress("perplexity", len(windows), "windows", show=options.show_progress_bar) as bar:
            for together in _passes(windows, _tokens_per_pass(model, options)):
                ids = torch.stack([stream[window.start : window.end] for window in together]).long()
                found = model.token_losses(ids, together[0].scored, shifted=self.shifted)
                losses += found.double().mean(dim=1).tolist()
                bar.advance(len(together))
        tokens = sum(window.scored for window in windows)
        # Windows of one length have equal weights, so this is the published mean of means.
        # With "new" it is the mean over tokens.
        loss = math.fsum(value * window.scored for value, window in zip(losses, windows)) / tokens
        if not loss < math.log(1e300):
            raise InputError(
                f"{model.name}: the loss on {self.name} is {loss}; load the model in float32 or bfloat16"
            )
        details = {
            **self.settings,
            "windows": len(windows),
            "scored_tokens": tokens,
            "text_tokens": windows[-1].end,
            "window_losses": [round(value, 6) for value in losses],
        }
        return Score({"perplexity": math.exp(loss), "loss": loss}, details)

    def _stream(self, model: CausalLM) -> Tensor:
        """Return token ids (N,) int32 of the texts, with an EOS between two of them.

        It stops once the first `windows` windows have enough tokens.
        """
        # "new" needs one stride more, to know that a window is not the last one
        wanted = None if self.limit is None else self.length + self.limit * self.stride
        separator = model.tokenizer.eos_token_id
        if separator is None and len(self.texts) > 1:
            raise InputError(
                f"{model.name}: the tokenizer does not have an EOS to put between {len(self.texts)} texts; join them into one"
            )
        if separator is not None and len(self.texts) > 1:
            check_embedded(
                model.tokenizer,
                [separator],
                embedding_rows(model.backbone),
                f"{model.name}: eos_token",
            )
        parts: list[Tensor] = []
        count = 0
        for number, text in enumerate(self.texts):
            if wanted is not None and count >= wanted:
                break
            ids = [separator] * (number > 0) + model.tokens(text)
            parts.append(torch.tensor(ids, dtype=torch.int32))
            count += len(ids)
        return torch.cat(parts)[:wanted]

    def _windows(self, total: int) -> Iterator[ScoredWindow]:
        if self.scored == "all":
            for start in range(0, total - self.length + 1, self.stride):
                yield ScoredWindow(start, start + self.length, self.length - 1)
            return
        done = 1  # the first token has nothing before it
        for start in range(0, total, self.stride):
            end = min(start + self.length, total)
            if end > done:
                yield ScoredWindow(start, end, end - done)
            done = end


def _stride(name: str, length: int, stride: int | None, scored: ScoredPasses) -> int:
    """Return the tokens between the starts of two windows.

    Raises:
        InputError: if a number is out of range, or `scored` is not a protocol.
    """
    if length < 2:
        raise InputError(
            f"task {name!r}: length must be at least 2 tokens, one to predict the other from (got {length})"
        )
    if scored not in get_args(ScoredPasses):
        raise InputError(
            f"task {name!r}: scored must be one of {', '.join(get_args(ScoredPasses))} (got {scored!r})"
            f"{did_you_mean(scored, get_args(ScoredPasses))}"
        )
    most = length - (scored == "new")  # a first token is not scored
    stride = min(STRIDE, most) if stride is None else stride
    if not 1 <= stride <= most:
        raise InputError(
            f"task {name!r}: stride must be from 1 to {most} for windows of {length} tokens (got {stride})"
        )
    return stride


def _check_groups(shifted: ShiftedGroups | None, name: str) -> None:
    if shifted is None:
        return
    if not shifted.at_test:
        raise InputError(
            f"task {name!r}: shifted groups do not run in evaluation mode; pass ShiftedGroups(at_test=True)"
        )
    if shifted.wrap == "roll":
        raise InputError(
            f"task {name!r}: shifted groups with wrap='roll' let a token see the one it predicts; use wrap='none'"
        )


def _tokens_per_pass(model: CausalLM, options: RunOptions) -> int:
    return options.batch_tokens or (CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS)


def _passes(windows: Sequence[ScoredWindow], tokens: int) -> Iterator[list[ScoredWindow]]:
    """Yield groups of neighboring windows of one shape that fit into `tokens` together.

    A group has at least one window.
    """
    together: list[ScoredWindow] = []
    for window in windows:
        size = window.end - window.start
        if together and (
            _shape(window) != _shape(together[0]) or (len(together) + 1) * size > tokens
        ):
            yield together
            together = []
        together.append(window)
    if together:
        yield together


def _shape(window: ScoredWindow) -> tuple[int, int]:
    return window.end - window.start, window.scored


__getattr__ = old_names(__name__)
