"""`bothways search MODEL SOURCE QUERY…`: print the nearest texts of a source."""

from __future__ import annotations

from typing import Annotated

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import Device, DType, Model, open_encoder, say

NAME = "search"


def command(
    model: Model,
    source: Annotated[
        str, typer.Argument(help="texts to search: file, folder, hub dataset or python-stdlib")
    ],
    queries: Annotated[list[str], typer.Argument(help="texts to search for")],
    top: Annotated[int, typer.Option(min=1, help="results per query")] = 5,
    limit: Annotated[int | None, typer.Option(help="search only the first texts")] = None,
    device: Device = "auto",
    dtype: DType = "auto",
    json: Json = False,
) -> None:
    """Print the nearest texts to each query by cosine."""
    from bothways.data.text.readers import read_texts

    texts = read_texts(source, limit=limit, splits="all")
    encoder = open_encoder(model, device=device, dtype=dtype)
    vectors = encoder.encode_document(texts, normalize_embeddings=True)
    scores = encoder.encode_query(queries, normalize_embeddings=True) @ vectors.T
    found = []
    for query, row in zip(queries, scores):
        say(query)
        best = row.argsort()[::-1][:top]
        for index in best:
            say(f"  {row[index]:.3f}  {' '.join(texts[index][:2000].split())[:110]}")
        results = [{"score": row[i], "row": i, "text": texts[i]} for i in best]
        found.append({"query": query, "results": results})
    print_json({"model": model, "source": source, "queries": found})
