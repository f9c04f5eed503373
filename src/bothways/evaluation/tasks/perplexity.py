"""Perplexity over sliding windows: how well a language model predicts a long text with a given number of tokens before its eyes.

Two protocols, which give different numbers and must never share a table:

- "all", the one LongLoRA publishes (arXiv 2309.12307, section 4.2; its `eval.py`, after Landmark Attention): each window of `length`
  tokens stands alone; its loss is the mean over *all* its predicted positions, those with little context included; the windows' losses
  are averaged and exponentiated. Complete windows only. (The released script leaves out one complete window more, the last; among
  thousands it does not show.)
- "new", the usual one: every token of the text is scored once, with at least `length - stride` tokens before it as soon as the text
  has so many; the last window may be shorter.

Windows overlap, yet nothing is reused between them: under causal attention a token's state depends on where its window began.

Attention is full, unless shifted groups are asked for: LongLoRA compares both for a model that was trained in groups. Each window is
then cut into groups of its own.
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
from bothways.data.text.documents import Unit, read_documents
from bothways.encoder.embedding_rows import check_embedded, embedding_rows
from bothways.encoder.inference import CPU_TOKENS, GPU_TOKENS
from bothways.errors import InputError
from bothways.evaluation.language_model.language_model import CausalLM
from bothways.evaluation.language_model.language_task import LanguageModelTask
from bothways.evaluation.registry import require_argument
from bothways.evaluation.task import RunOptions, Score
from bothways.progress import Progress

Scored = Literal["all", "new"]

LENGTH = 2048  # tokens; the shortest context of LongLoRA's tables
STRIDE = 256  # tokens; LongLoRA's


class Window(NamedTuple):
    """Tokens [start, end) of the stream, of which the last `scored` are scored."""

    start: int
    end: int
    scored: int


class Perplexity(LanguageModelTask):
    """Perplexity (main), and the mean loss in nats per scored token behind it; lower is better for both.

    As a dev metric it cannot serve: those choose the highest.
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
        scored: Scored = "all",
        shifted: ShiftedGroups | None = None,
    ) -> None:
        """Hold the texts.

        Args:
            texts: documents; they become one stream of tokens with an EOS between two of them.
            name: what results call the task.
            length: tokens of a window, at least 2.
            stride: tokens between the starts of neighbouring windows, 1 to `length`, with "new" below `length`; None for 256, or the
                most there can be with shorter windows.
            windows: measure the first so many windows only; None for all of them.
            scored: the protocol, see the top of this file.
            shifted: `ShiftedGroups(at_test=True)` to run each window in shifted groups; None for full attention.

        Raises:
            InputError: no text, a number out of range, or groups that would not be run or let a token see what it predicts.
        """
        if not texts:
            raise InputError(f"task {name!r}: holds no text")
        if length < 2:
            raise InputError(f"task {name!r}: length must be at least 2 tokens, one to predict from the other (got {length})")
        if scored not in get_args(Scored):
            raise InputError(f"task {name!r}: scored must be one of {', '.join(get_args(Scored))} (got {scored!r})")
        most = length - (scored == "new")  # a window that scores its own first token would have nothing to predict it from
        stride = min(STRIDE, most) if stride is None else stride
        if not 1 <= stride <= most:
            raise InputError(f"task {name!r}: stride must lie between 1 and {most} for windows of {length} (got {stride})")
        if windows is not None and windows < 1:
            raise InputError(f"task {name!r}: windows must be at least 1 (got {windows})")
        _check_groups(shifted, name)
        self.texts, self.name = list(texts), name
        self.length, self.stride, self.limit = length, stride, windows
        self.scored: Scored = scored
        self.shifted = shifted
        self.fingerprint = fingerprint_texts(texts)
        groups: dict[str, Any] = {} if shifted is None else {"shifted": dataclasses.asdict(shifted)}
        self.settings = {"length": length, "stride": stride, "windows": windows, "scored": scored, **groups}

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        length: int = LENGTH,
        stride: int | None = None,
        windows: int | None = None,
        scored: Scored = "all",
        shifted: bool = False,
        column: str | None = None,
        unit: Unit = "auto",
    ) -> Perplexity:
        """`perplexity:TEXT`, any source of documents; with options `perplexity:TEXT?length=8192&stride=256&windows=100&scored=new`.

        Args:
            argument: the source; `column` and `unit` say what a document is there (`data.documents`).
            length, stride, windows, scored: see the class.
            shifted: run each window in shifted groups, as published.
            column: the documents' column.
            unit: of .txt files: "auto", a whole file or its marked articles; "line", every line.

        Raises:
            InputError: no source, one that cannot be read, or a number out of range.
        """
        source = require_argument(argument, cls.kind)
        texts = read_documents(source, column=column, unit=unit, splits="held_out")
        groups = ShiftedGroups(at_test=True) if shifted else None
        name = f"{cls.kind}:{source}"
        return cls(texts, name=name, length=length, stride=stride, windows=windows, scored=scored, shifted=groups)

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
        # windows of one length weigh the same, so this is the published mean of means; with "new" it is the mean over tokens
        loss = math.fsum(value * window.scored for value, window in zip(losses, windows)) / tokens
        if not loss < math.log(1e300):
            raise InputError(f"{model.name}: its loss on {self.name} is {loss}; load it in float32 or bfloat16")
        details = {
            **self.settings,
            "windows": len(windows),
            "scored_tokens": tokens,
            "text_tokens": windows[-1].end,
            "window_losses": [round(value, 6) for value in losses],
        }
        return Score({"perplexity": math.exp(loss), "loss": loss}, details)

    def _stream(self, model: CausalLM) -> Tensor:
        """Token ids (N,) int32 of the texts, an EOS between two of them; no more than the first `windows` windows need."""
        # "new" looks one stride further, to know that a window is not the last one
        wanted = None if self.limit is None else self.length + self.limit * self.stride
        separator = model.tokenizer.eos_token_id
        if separator is None and len(self.texts) > 1:
            raise InputError(
                f"{model.name}: its tokenizer has no EOS to put between {len(self.texts)} texts; join them into one"
            )
        if separator is not None and len(self.texts) > 1:
            check_embedded(model.tokenizer, [separator], embedding_rows(model.backbone), f"{model.name}: eos_token")
        parts: list[Tensor] = []
        count = 0
        for number, text in enumerate(self.texts):
            if wanted is not None and count >= wanted:
                break
            ids = [separator] * (number > 0) + model.tokens(text)
            parts.append(torch.tensor(ids, dtype=torch.int32))
            count += len(ids)
        return torch.cat(parts)[:wanted]

    def _windows(self, total: int) -> Iterator[Window]:
        if self.scored == "all":
            for start in range(0, total - self.length + 1, self.stride):
                yield Window(start, start + self.length, self.length - 1)
            return
        done = 1  # the first token has nothing before it
        for start in range(0, total, self.stride):
            end = min(start + self.length, total)
            if end > done:
                yield Window(start, end, end - done)
            done = end


def _check_groups(shifted: ShiftedGroups | None, name: str) -> None:
    if shifted is None:
        return
    if not shifted.at_test:
        raise InputError(f"task {name!r}: shifted groups are left out in evaluation mode; give ShiftedGroups(at_test=True)")
    if shifted.wrap == "roll":
        raise InputError(f"task {name!r}: shifted groups with wrap='roll' let tokens see those they predict; use wrap='none'")


def _tokens_per_pass(model: CausalLM, options: RunOptions) -> int:
    return options.batch_tokens or (CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS)


def _passes(windows: Sequence[Window], tokens: int) -> Iterator[list[Window]]:
    """Neighbouring windows of one shape, together as many as fit into `tokens`, at least one."""
    together: list[Window] = []
    for window in windows:
        size = window.end - window.start
        if together and (_shape(window) != _shape(together[0]) or (len(together) + 1) * size > tokens):
            yield together
            together = []
        together.append(window)
    if together:
        yield together


def _shape(window: Window) -> tuple[int, int]:
    return window.end - window.start, window.scored
