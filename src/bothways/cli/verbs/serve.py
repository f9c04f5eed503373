"""`bothways serve MODEL…`: an HTTP server that speaks OpenAI's embedding API."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import PurePath
from typing import Annotated, Any

import typer

from bothways.cli.options import BasePooling, Device, DType, open_encoder
from bothways.errors import InputError, MissingExtra

NAME = "serve"

# Texts of --int8-texts that are encoded. Ranges change little with more of them.
_CALIBRATION = 2000
_NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def command(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…",
            help="encoder folders or bases; NAME=FOLDER gives the name by which clients ask, else the folder's own",
        ),
    ],
    host: Annotated[str, typer.Option(help="address to listen at; 0.0.0.0 is every address of this machine")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen at; 0 takes a free one", min=0, max=65535)] = 8000,
    batch_tokens: Annotated[int | None, typer.Option(help="tokens per pass; chosen for the device")] = None,
    normalize: Annotated[
        bool | None, typer.Option("--normalize/--no-normalize", help="unit vectors; if not given, as the encoder was saved")
    ] = None,
    accept_token_ids: Annotated[
        bool, typer.Option("--accept-token-ids", help="take lists of numbers as token ids of the model's own vocabulary")
    ] = False,
    int8_texts: Annotated[
        str | None,
        typer.Option(
            help="texts like yours (some hundred), whose ranges scale int8 vectors; a file as for encode", show_default=False
        ),
    ] = None,
    max_rows: Annotated[int | None, typer.Option(help="texts of a request (2,048)", show_default=False)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="tokens of a request (300,000)", show_default=False)] = None,
    max_bytes: Annotated[int | None, typer.Option(help="bytes of a request (8 MiB)", show_default=False)] = None,
    max_requests: Annotated[
        int | None, typer.Option(help="requests answered at the same time, others get 429 (512)", show_default=False)
    ] = None,
    queue_rows: Annotated[
        int | None, typer.Option(help="texts that wait or run, others get 429 (16,384)", show_default=False)
    ] = None,
    queue_tokens: Annotated[
        int | None, typer.Option(help="tokens that wait or run, others get 429 (600,000)", show_default=False)
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="seconds until a request is given up (600)", show_default=False)] = None,
    body_timeout: Annotated[
        float | None, typer.Option(help="seconds in which a request's body must arrive (30)", show_default=False)
    ] = None,
    drain: Annotated[
        float | None, typer.Option(help="seconds to finish requests when stopped (30)", show_default=False)
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(help="origin of web pages that may ask, for example https://example.org; repeatable")
    ] = None,
    pooling: BasePooling = None,
    device: Device = "auto",
    dtype: DType = "auto",
) -> None:
    """Serve encoders over HTTP: OpenAI's /v1/embeddings, /v1/rerank, /v1/similarity, and a page to try a search.

    Clients need the key in the environment variable BOTHWAYS_API_KEY, if it is set.
    """
    for package in _NEEDED:
        if find_spec(package) is None:
            raise MissingExtra(package, "serve", "bothways serve")
    from bothways.config import parse
    from bothways.data.text.readers import read_texts
    from bothways.serving.run import bind, serve
    from bothways.serving.settings import ServeSettings

    given: dict[str, Any] = {
        "batch_tokens": batch_tokens,
        "normalize": normalize,
        "accept_token_ids": accept_token_ids,
        "max_rows": max_rows,
        "max_tokens": max_tokens,
        "max_bytes": max_bytes,
        "max_requests": max_requests,
        "queue_rows": queue_rows,
        "queue_tokens": queue_tokens,
        "timeout": timeout,
        "body_timeout": body_timeout,
        "drain": drain,
        "cors": tuple(cors or ()),
    }
    settings = parse(ServeSettings, {key: value for key, value in given.items() if value is not None}, where="serve")
    folders = named(models)
    texts = [] if int8_texts is None else read_texts(int8_texts, limit=_CALIBRATION, splits="all")
    with bind(host, port) as taken:  # before the models are read, which takes long
        encoders = {name: open_encoder(folder, device=device, dtype=dtype, pooling=pooling) for name, folder in folders.items()}
        serve(encoders, settings, taken, int8_texts=texts)


def named(models: list[str]) -> dict[str, str]:
    """Read the models of a command line: {name: folder}, for example of "mine=runs/x" and "runs/y".

    Raises:
        InputError: two models have the same name.
    """
    found: dict[str, str] = {}
    for each in models:
        name, equals, folder = each.partition("=")
        if not equals:
            name, folder = PurePath(each).name, each
        if not name or not folder:
            raise InputError(f"{each}: must be a folder, or NAME=FOLDER")
        if name in found:
            raise InputError(f"{each}: the name {name} is taken by {found[name]}; give another one as NAME=FOLDER")
        found[name] = folder
    return found
