"""Options of `bothways serve`. Their defaults are those of `ServeSettings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from bothways.serving import limits

if TYPE_CHECKING:
    from bothways.serving.settings import ServeSettings

# Texts of --int8-texts that are encoded. Ranges change little with more of them.
_CALIBRATION = 2000


@dataclass(frozen=True)
class Address:
    """Where clients find the server."""

    PANEL: ClassVar[str] = "Address"

    host: Annotated[
        str, typer.Option(help="address to listen at; 0.0.0.0 is every address of this machine")
    ] = "127.0.0.1"
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="port to listen at; 0 takes a free one")
    ] = 8000
    cors: Annotated[
        list[str] | None,
        typer.Option(
            help="origin of web pages that may ask, for example https://example.org; repeatable"
        ),
    ] = None
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="further name by which clients may call the server, for example search.example.org; repeatable"
        ),
    ] = None


@dataclass(frozen=True)
class Answering:
    """Which input is taken, and which vectors are given."""

    PANEL: ClassVar[str] = "Vectors"

    normalize: Annotated[
        bool | None,
        typer.Option(
            "--normalize/--no-normalize",
            help="unit vectors; if not given, as the encoder was saved",
        ),
    ] = None
    accept_token_ids: Annotated[
        bool,
        typer.Option(
            "--accept-token-ids",
            help="take lists of numbers as token ids of the model's own vocabulary",
        ),
    ] = False
    int8_texts: Annotated[
        str | None,
        typer.Option(
            help="texts like yours, some hundred, whose ranges scale int8 vectors; a file or folder as for encode"
        ),
    ] = None
    batch_tokens: Annotated[
        int | None, typer.Option(help="tokens per pass; chosen for the device")
    ] = None

    def texts(self) -> list[str]:
        """Read the texts for the ranges of int8. There are none if no source is given."""
        from bothways.data.text.readers import read_texts

        return (
            []
            if self.int8_texts is None
            else read_texts(self.int8_texts, limit=_CALIBRATION, splits="all")
        )


@dataclass(frozen=True)
class Limits:
    """What is refused. Each refusal names its limit."""

    PANEL: ClassVar[str] = "Limits"

    max_rows: Annotated[int, typer.Option(help="texts of a request, else 413")] = limits.MAX_ROWS
    max_tokens: Annotated[int, typer.Option(help="tokens of a request, else 413")] = (
        limits.MAX_TOKENS
    )
    max_bytes: Annotated[int, typer.Option(help="bytes of a request, else 413")] = limits.MAX_BYTES
    max_requests: Annotated[
        int, typer.Option(help="requests answered at the same time, others get 429")
    ] = limits.MAX_REQUESTS
    queue_rows: Annotated[int, typer.Option(help="texts that wait or run, others get 429")] = (
        limits.QUEUE_ROWS
    )
    queue_tokens: Annotated[int, typer.Option(help="tokens that wait or run, others get 429")] = (
        limits.QUEUE_TOKENS
    )
    timeout: Annotated[float, typer.Option(help="seconds until a request is given up with 504")] = (
        limits.TIMEOUT
    )
    body_timeout: Annotated[
        float, typer.Option(help="seconds in which a request's body must arrive, else 408")
    ] = limits.BODY_TIMEOUT
    drain: Annotated[float, typer.Option(help="seconds to finish requests when stopped")] = (
        limits.DRAIN
    )


def settings_of(address: Address, answering: Answering, limits: Limits) -> ServeSettings:
    """Return the checked settings.

    Raises:
        InputError: one is out of its range. The message names its option.
    """
    from bothways.config import parse
    from bothways.serving.settings import ServeSettings

    given = {
        **vars(answering),
        **vars(limits),
        "cors": tuple(address.cors or ()),
        "allowed_hosts": tuple(address.allowed_host or ()),
    }
    del given["int8_texts"]
    return parse(ServeSettings, given, where="serve")
