"""What an index knows about itself. A model with other settings is refused, because its vectors
would not fit to those of the index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from bothways.config import Strict, parse
from bothways.errors import InputError
from bothways.search.quantized import Quantization
from bothways.similarity_names import Similarity

FORMAT = 1
"""Version of the layout. It changes when an older bothways could not read an index."""

_SHOWN = 60
_DIGEST = "sha256"


class IndexSettings(Strict):
    """The settings of an index.

    Args:
        format: version of the layout.
        model: folder, hub id or name of the model.
        fingerprint: identifies the model's weights and settings, see `model.identity`.
        dtype: precision that the texts were encoded in, for example "bfloat16".
        pooling: pooling that a base model was given. If None, its default or the encoder's own.
        prompt: instruction of the texts, "" for none.
        query_prompt: instruction of queries, "" for none.
        dimension: numbers of a vector.
        truncate_dim: leading numbers that were kept. If None, all.
        similarity: how vectors are compared. For cosines the stored vectors have length 1.
        chunks: "sentences", tokens of a passage, or None if a text has one vector.
        sources: the sources, as they were named.
        approximate: whether a search may miss near texts and is faster for it.
        precision: "binary" if a search compares the signs of vectors first, else "float32".
        rescore: with binary: score this many times as many candidates again. If None, none.
        rescore_with: "float32" to score them by whole vectors. If None, by signs.
        finished: False while texts are added, and after a stop in the middle.
        generation: counts the changes, so that readers notice them.
        versions: libraries that made it.
    """

    format: int = FORMAT
    model: str
    fingerprint: str
    dtype: str
    pooling: str | None = None
    prompt: str = ""
    query_prompt: str = ""
    dimension: int = Field(ge=1)
    truncate_dim: int | None = Field(default=None, ge=1)
    similarity: Similarity = "cosine"
    chunks: int | Literal["sentences"] | None = None
    sources: tuple[str, ...] = ()
    approximate: bool = False
    precision: Literal["float32", "binary"] = "float32"
    rescore: int | None = Field(default=None, ge=1)
    rescore_with: Literal["float32"] | None = None
    finished: bool = False
    generation: int = 0
    versions: dict[str, str] = Field(default_factory=dict)

    def check_fits(self, asked: IndexSettings, place: str) -> None:
        """Check that texts with the settings `asked` may be added to this index at `place`.

        Raises:
            InputError: if the model, a prompt, the width, the similarity, the precision or the
                passages differ.
        """
        if self.fingerprint != asked.fingerprint:
            raise InputError(self.other_model(asked.model or "the given encoder", place))
        for name, option in (
            ("prompt", "--prompt"),
            ("query_prompt", "--query-prompt"),
            ("truncate_dim", "--truncate-dim"),
            ("dimension", "--truncate-dim"),
            ("similarity", "--similarity"),
            ("precision", "--precision"),
            ("chunks", "--chunks"),
        ):
            own, given = getattr(self, name), getattr(asked, name)
            if own != given:
                raise InputError(
                    f"{place}: was made with {name} {_shown(own)}, not {_shown(given)}; give the same {option}, "
                    "or another place with --to"
                )

    @property
    def quantization(self) -> Quantization:
        """How rows are kept for the first search, and how candidates are scored again."""
        return Quantization(self.precision, self.rescore, self.rescore_with)

    def other_model(self, model: str, place: str) -> str:
        """Write the message about a model that did not make the index at `place`."""
        return (
            f"{place}: holds vectors of {self.model or 'an encoder'}, and {model} is another model or has other settings now; "
            "search with the model that made it, or index again to another place"
        )


def settings_text(settings: IndexSettings) -> str:
    """Write settings as a JSON object that also holds the SHA-256 of their values."""
    values = settings.model_dump(mode="json")
    return json.dumps({**values, _DIGEST: _digest(values)}, indent=1)


def parsed_settings(values: Mapping[str, Any], where: str) -> IndexSettings:
    """Check the settings of an index, as `settings_text` wrote them.

    Raises:
        InputError: they are damaged, or of a newer bothways.
    """
    values = dict(values)
    written = values.pop(_DIGEST, None)  # older indexes have none
    if written not in (None, _digest(values)):
        raise InputError(
            f"{where}: the settings of the index have changed since they were written; remove it and index again"
        )
    if values.get("format") != FORMAT:
        raise InputError(
            f"{where}: is an index of format {values.get('format')!r}, and this bothways reads format {FORMAT}; "
            "index again, or update bothways"
        )
    return parse(IndexSettings, values, where=where)


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
