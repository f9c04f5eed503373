"""`bothways serve MODEL…`: an HTTP server that speaks OpenAI's embedding API."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import PurePath
from typing import Annotated, Any

import typer

from bothways.cli.option_groups import flat
from bothways.cli.options import BasePooling, Device, DType, Graph, Quantize, open_encoder
from bothways.cli.serving_options import Address, Answering, Limits, settings_of
from bothways.errors import InputError, MissingExtra

NAME = "serve"

_NEEDED = ("fastapi", "uvicorn", "prometheus_client")


_Index = Annotated[
    str | None,
    typer.Option(
        help="an index that bothways index made with one of the models: /search and the page search it"
    ),
]


_ShareBase = Annotated[
    bool,
    typer.Option(
        "--share-base",
        help="the models are adapters of one base (keep: adapter): one copy of its weights in memory, adapters unmerged",
    ),
]


@flat
def command(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…",
            help="encoder folders or bases; NAME=FOLDER gives the name by which clients ask, else the folder's own",
        ),
    ],
    address: Address,
    answering: Answering,
    limits: Limits,
    index: _Index = None,
    pooling: BasePooling = None,
    device: Device = "auto",
    dtype: DType = "auto",
    quantize: Quantize = None,
    share_base: _ShareBase = False,
    graph: Graph = "auto",
) -> None:
    """Serve encoders over HTTP: OpenAI's /v1/embeddings, /v1/rerank, /v1/similarity, and a page to
    try a search.

    Clients need the key in the environment variable BOTHWAYS_API_KEY, if it is set.
    """
    for package in _NEEDED:
        if find_spec(package) is None:
            raise MissingExtra(package, "serve", "bothways serve")
    from bothways.encoder.shared_base import load_over_one_base
    from bothways.indexing.searching import open_index
    from bothways.serving.hosts import Hosts
    from bothways.serving.serve import bind, serve
    from bothways.serving.served_documents import Documents

    asked = "openvino" if graph == "openvino" else None
    given = {"--quantize": quantize, "--pooling": pooling, "--graph": asked}
    other = next((name for name, value in given.items() if value is not None), None)
    if share_base and other is not None:
        raise InputError(f"{other}: does not work with --share-base; leave one of the two out")
    settings = settings_of(address, answering, limits)
    folders = named(models)
    texts = answering.texts()
    Hosts(address.host, settings.allowed_hosts)  # refuses wrong names at once
    opened = None if index is None else open_index(index)
    if opened is not None and dtype == "auto":
        dtype = opened.settings.dtype
    options: dict[str, Any] = {"device": device, "dtype": dtype, "graph": graph}
    with bind(address.host, address.port) as taken:  # before the models are read, which takes long
        if share_base:
            encoders = load_over_one_base(folders, device=device, dtype=dtype)
        else:
            encoders = {
                name: open_encoder(folder, pooling=pooling, quantize=quantize, now=True, **options)
                for name, folder in folders.items()
            }
        documents = None if opened is None else Documents.of(opened, encoders)
        serve(encoders, settings, taken, int8_texts=texts, documents=documents)


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
            raise InputError(
                f"{each}: the name {name} is taken by {found[name]}; give another one as NAME=FOLDER"
            )
        found[name] = folder
    return found
