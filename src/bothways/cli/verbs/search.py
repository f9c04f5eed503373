"""`bothways search QUERY… --index INDEX`, or `bothways search MODEL SOURCE QUERY…`: print the
nearest texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import ComparedBy, Device, DType, Graph, Quantize, open_encoder, say
from bothways.errors import InputError

if TYPE_CHECKING:
    from bothways.indexing.index_rows import Hit
    from bothways.search.quantized import Quantization

NAME = "search"

_Words = Annotated[
    list[str],
    typer.Argument(
        metavar="[MODEL SOURCE] QUERY…",
        help="queries; without --index, first a model and a source of texts (file, folder, hub dataset or python-stdlib)",
    ),
]
_Index = Annotated[
    str | None,
    typer.Option(help="an index that bothways index made: a folder, a .faiss file or a URL"),
]
_Model = Annotated[
    str | None,
    typer.Option(help="the model that made the index, if it is no longer at its place"),
]
_Where = Annotated[
    str | None,
    typer.Option(
        help="condition on file, row, start, end or text of an index, for example \"file LIKE 'notes/%' AND row < 100\""
    ),
]
_Hybrid = Annotated[
    bool, typer.Option("--hybrid", help="join the ranking of an index with that of BM25")
]
_Exact = Annotated[
    bool,
    typer.Option("--exact", help="read all vectors of an index that was made with --approximate"),
]
_Precision = Annotated[
    str,
    typer.Option(
        help="without --index: keep the vectors of the texts as float32, int8 or binary (a bit for a number)"
    ),
]
_Rescore = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="with binary: score this many times as many candidates again by the numbers of the query, for example 4",
    ),
]
_RescoreWith = Annotated[
    str | None,
    typer.Option(
        help="precision of the texts' vectors for --rescore, int8 or float32; their bits if not given"
    ),
]


def command(
    words: _Words,
    index: _Index = None,
    model: _Model = None,
    top: Annotated[int, typer.Option(min=1, help="results per query")] = 5,
    where: _Where = None,
    hybrid: _Hybrid = False,
    exact: _Exact = False,
    limit: Annotated[
        int | None, typer.Option(help="without --index: search only the first texts")
    ] = None,
    precision: _Precision = "float32",
    rescore: _Rescore = None,
    rescore_with: _RescoreWith = None,
    device: Device = "auto",
    dtype: DType = "auto",
    quantize: Quantize = None,
    graph: Graph = "auto",
    similarity: ComparedBy = None,
    json: Json = False,
) -> None:
    """Print the nearest texts to each query, from an index or from a source."""
    from bothways.search.quantized import Quantization

    kept = Quantization(precision, rescore, rescore_with)  # type: ignore[arg-type]
    if index is not None:
        if kept:
            raise InputError(
                f"--precision {precision}: does not work with --index, which is searched as it was made; give it to bothways index"
            )
        if limit is not None:
            raise InputError("--limit: does not work with --index; use --where instead")
        if quantize is not None:
            raise InputError(
                f"--quantize {quantize}: does not work with --index, which is asked as it was made; leave it out"
            )
        if similarity is not None:
            raise InputError(
                f"--similarity {similarity}: does not work with --index, which is asked as it was made; "
                "give it to bothways index"
            )
        from bothways.indexing.searching import open_index

        with open_index(index, model=model, device=device, dtype=dtype, graph=graph) as opened:
            if not opened.settings.finished:
                say(f"{index}: is not finished; run its bothways index again")
            found = opened.search(words, top=top, where=where, hybrid=hybrid, exact=exact)
        for query, hits in zip(words, found):
            _show(query, hits, hybrid=hybrid, places=True)
        results = [{"query": query, "results": hits} for query, hits in zip(words, found)]
        print_json({"index": index, "queries": results})
        return
    for option, given in (
        ("--model", model),
        ("--where", where),
        ("--hybrid", hybrid),
        ("--exact", exact),
    ):
        if given:
            raise InputError(f"{option}: needs --index")
    if len(words) < 3:
        raise InputError(
            "search: needs MODEL SOURCE QUERY, or QUERY --index INDEX (bothways index makes one)"
        )
    encoder: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "quantize": quantize,
        "graph": graph,
    }
    once = _once(words[0], words[1], words[2:], top, limit, kept, similarity, encoder)
    for query, hits in once:
        _show(query, hits)
    results = [{"query": query, "results": hits} for query, hits in once]
    print_json({"model": words[0], "source": words[1], "queries": results})


def _once(
    model: str,
    source: str,
    queries: list[str],
    top: int,
    limit: int | None,
    kept: Quantization,
    similarity: str | None,
    options: dict[str, Any],
) -> list[tuple[str, list[Hit]]]:
    """Encode a source and search it, without keeping anything. `options` open the encoder."""
    from collections import deque

    from bothways.data.text.readers import Places, iter_texts
    from bothways.indexing.index_rows import Hit
    from bothways.search.quantized import nearest_documents
    from bothways.similarity import unit_or_own
    from bothways.similarity_names import similarity_name

    places: Places = deque()
    texts = list(iter_texts(source, limit=limit, splits="all", places=places))
    encoder = open_encoder(model, texts=texts, **options)
    kind = kept.check(similarity_name(encoder, similarity))
    unit = unit_or_own(kind)
    vectors = encoder.encode_document(texts, normalize_embeddings=unit)
    asked = encoder.encode_query(queries, normalize_embeddings=unit)
    found = []
    for query, (best, scores) in zip(
        queries, nearest_documents(vectors, asked, top, kept, similarity=kind)
    ):
        hits = [
            Hit(*places[place], (0, len(texts[place])), float(score), texts[place])
            for place, score in zip(best.tolist(), scores)
        ]
        found.append((query, hits))
    return found


def _show(query: str, hits: list[Hit], *, hybrid: bool = False, places: bool = False) -> None:
    say(query)
    for hit in hits:
        score = f"{hit.score:.4f}" if hybrid else f"{hit.score:.3f}"
        place = f"{hit.file}, row {hit.row}, {hit.span[0]}-{hit.span[1]}: " if places else ""
        say(f"  {score}  {place}{' '.join(hit.text[:2000].split())[:110]}")
