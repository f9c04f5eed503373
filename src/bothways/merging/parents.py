"""Opens the models to merge, and refuses those that cannot have a common child."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bothways.attention.older_loaders import GUARD
from bothways.encoder.encoder import Encoder
from bothways.encoder.load import load
from bothways.errors import InputError
from bothways.foreign import read_object

#: Fields of a configuration that name its origin or how it is run, not the model.
_PASSING = {
    "_name_or_path",
    "name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "pooling",
    "attn_implementation",
    GUARD,  # a saved encoder has it, and an adapter's base has not
}


@dataclass(frozen=True)
class Parent:
    """One model to merge.

    Attributes:
        name: as the user gave it.
        encoder: in float32 on the CPU.
    """

    name: str
    encoder: Encoder

    @property
    def state(self) -> dict[str, Tensor]:
        """Weights of the backbone and of a trained pooling."""
        return dict(self.encoder.state_dict())


def open_parents(models: Sequence[str | os.PathLike[str]], base: str | None = None) -> list[Parent]:
    """Load the models, and check that they can be merged.

    Args:
        models: encoder folders or hub ids, or adapters of one base that hold an encoder's settings.
        base: the base of adapters, if what they name cannot be reached.

    Raises:
        InputError: if there are fewer than two, or if two differ in more than their weights.
    """
    names = [os.fspath(model) for model in models]
    if len(names) < 2:
        raise InputError(f"merge: needs at least two models (got {len(names)})")
    parents: list[Parent] = []
    for name in names:
        parents.append(Parent(name, load(name, base=base, device="cpu", dtype=torch.float32)))
        _check_pair(parents[0], parents[-1])
    return parents


def stored_dtype(parents: Sequence[Parent]) -> str:
    """Return the type in which the models are stored, or "float32" if it is not one type.

    An adapter is merged in float32, so its encoder is stored in it.
    """
    kinds = {_stored(parent.encoder) for parent in parents}
    return kinds.pop() if len(kinds) == 1 else "float32"


def _stored(encoder: Encoder) -> str:
    if encoder.folder is None or not (encoder.folder / "config.json").is_file():
        return "float32"
    config = read_object(encoder.folder / "config.json")
    stated = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return stated if stated in ("bfloat16", "float16") else "float32"


def _check_pair(one: Parent, other: Parent) -> None:
    """Raise InputError with the first thing in which two encoders differ, besides weights."""
    for what, first, second in _facts(one.encoder, other.encoder):
        if first != second:
            raise InputError(
                f"merge: {one.name} and {other.name} differ in their {what} ({_short(first)} and {_short(second)}); only encoders "
                "of one architecture with the same settings can be merged"
            )
    mine, theirs = one.state, other.state
    odd = next(
        (
            name
            for name in (*mine, *theirs)
            if name not in mine or name not in theirs or mine[name].shape != theirs[name].shape
        ),
        None,
    )
    if odd is not None:
        raise InputError(
            f"merge: {one.name} and {other.name} have different weights: {odd} is absent in one or has another shape; only "
            "encoders of one architecture can be merged"
        )


def _facts(one: Encoder, other: Encoder) -> list[tuple[str, Any, Any]]:
    """List what must be equal: a name for messages and both values."""
    facts: list[tuple[str, Any, Any]] = [
        ("architecture", type(one.backbone).__name__, type(other.backbone).__name__),
        ("direction", one.direction, other.direction),
        ("pooling", repr(one.pooling), repr(other.pooling)),
    ]
    for field in dataclasses.fields(one.options):
        label = "prompts" if "prompt" in field.name else f"setting {field.name}"
        facts.append((label, getattr(one.options, field.name), getattr(other.options, field.name)))
    facts.append(("tokenizer", _tokens(one), _tokens(other)))
    first, second = _config(one), _config(other)
    facts += [
        (f"architecture, {key}", first.get(key), second.get(key)) for key in {**first, **second}
    ]
    return facts


def _config(encoder: Encoder) -> dict[str, Any]:
    config: Any = encoder.backbone.config
    return {
        key: value
        for key, value in config.to_diff_dict().items()
        if key not in _PASSING and not key.startswith("_")
    }


def _tokens(encoder: Encoder) -> tuple[Any, ...]:
    """Return what a tokenizer makes of texts: its vocabulary, and the special tokens it adds."""
    tokenizer = encoder.tokenizer
    return (
        len(tokenizer),
        sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]),
        tokenizer("A text, for example: naïve 123")["input_ids"],
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
