"""The settings of a job: what a vector is made of, and what must be equal to continue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bothways.bulk.model_request import fingerprint
from bothways.errors import InputError
from bothways.moved import old_names
from bothways.printable import utf8_name

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

FORMAT, VERSION = "bothways-shards", 1
ROWS = 16_384
"""Texts of a shard if you do not say: one window of `Encoder.encode`, and the most that a killed
process loses."""


@dataclass(frozen=True)
class JobSettings:
    """How a job's texts become vectors.

    Attributes:
        prompt, prompt_name, normalize, truncate_dim, batch_tokens: see `Encoder.encode`.
        both: if True, two vectors of each text, see `Encoder.encode_both`.
        chunks: if given, a vector for each passage of a text: "sentences", or the number of tokens.
    """

    prompt: str | None = None
    prompt_name: str | None = None
    normalize: bool = True
    truncate_dim: int | None = None
    batch_tokens: int | None = None
    both: bool = False
    chunks: int | Literal["sentences"] | None = None

    def check(self) -> None:
        """Refuse settings that exclude each other.

        Raises:
            InputError: if two do.
        """
        if self.chunks is not None and (self.both or self.truncate_dim is not None):
            other = "both" if self.both else "truncate_dim"
            raise InputError(f"{other}: does not work with chunks; leave one of the two out")
        if self.both and (self.prompt is not None or self.prompt_name is not None):
            raise InputError("prompt: does not work with both, which asks its own two questions")

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `Encoder.encode_stream` and its siblings."""
        found: dict[str, Any] = {
            "normalize_embeddings": self.normalize,
            "batch_tokens": self.batch_tokens,
        }
        if not self.both:
            found |= {"prompt": self.prompt, "prompt_name": self.prompt_name}
        if self.chunks is None:
            found |= {"truncate_dim": self.truncate_dim}
        return {**found, "show_progress_bar": False}

    def facts(self, encoder: Encoder, name: str) -> dict[str, Any]:
        """Return the facts that determine a vector up to rounding.

        Args:
            encoder: the opened model.
            name: its name, for people.

        Raises:
            InputError: if the encoder does not have the prompt, or cannot cut to the width.
        """
        # The stream checks its arguments when it is made.
        if not self.both and self.chunks is None:
            encoder.encode_stream([], **self.options)
        dtype = str(encoder.dtype).removeprefix("torch.")
        return {
            "model": {"name": utf8_name(name), "fingerprint": fingerprint(encoder), "dtype": dtype},
            "settings": {
                "prompt": None if self.both else encoder.prompt(self.prompt, self.prompt_name),
                "normalize": self.normalize,
                "truncate_dim": self.truncate_dim,
                "both": self.both,
                "chunks": self.chunks,
            },
            "dimension": self.truncate_dim or encoder.dimension,
        }


def check_same(folder: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue a folder with another model or other settings.

    Args:
        folder: its name.
        before: facts of its manifest.
        now: facts of this job.

    Raises:
        InputError: if a vector would be another one.
    """
    for name, value in now["settings"].items():
        old = before["settings"].get(name)
        if old != value:
            raise InputError(
                f"{folder}: was encoded with {name} {old!r}, now {name} is {value!r}; "
                "use the same settings, or name another folder"
            )
    old, new = before["model"], now["model"]
    if old["fingerprint"] != new["fingerprint"]:
        raise InputError(
            f"{folder}: holds vectors of another model ({_model(old)}; this one is {_model(new)}); "
            "name another folder, or remove this one"
        )


def _model(facts: Mapping[str, Any]) -> str:
    return f"{facts['name']}, {facts['dtype']}, {facts['fingerprint'][:12]}"


__getattr__ = old_names(__name__)
