"""`bothways index SOURCE… --model MODEL --to DIR|FILE|URL`: an index that is kept up to date."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import BatchTokens, ComparedBy, Device, DType, passages_of, say, say_next

NAME = "index"

_Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE…",
        help="texts: files (.txt, .json, .jsonl, .csv, .tsv, .parquet, .gz of these), folders, hub datasets or "
        "python-stdlib",
    ),
]
_ModelOption = Annotated[
    str, typer.Option(help="an encoder folder, or a base model: hub id, folder or embedded name")
]
_To = Annotated[
    str,
    typer.Option(
        help="where the index is: a folder (LanceDB), a file that ends in .faiss, qdrant://HOST:6333/NAME, or "
        "postgresql://USER@HOST/DATABASE/TABLE"
    ),
]
_Chunks = Annotated[
    str | None,
    typer.Option(
        help="a vector for each passage, read as part of its text; sentences, or the number of tokens of a passage; "
        "if not given, a text has one vector"
    ),
]
_Unit = Annotated[
    str | None,
    typer.Option(
        help="for .txt files: line (each line is a text) or document (each file is one, or each article that it marks); "
        "if not given, document with --chunks, else line"
    ),
]
_QueryPrompt = Annotated[
    str | None,
    typer.Option(help="instruction before every query; if not given, the encoder's own"),
]
_Approximate = Annotated[
    bool,
    typer.Option(
        "--approximate", help="make searches of millions of rows faster, which may miss near rows"
    ),
]
_Precision = Annotated[
    str | None,
    typer.Option(
        help="float32, or binary: compare bits first (a bit for a number), in a folder or a .faiss file; if not given, as the "
        "index was made, else float32"
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
        help="precision of the texts' vectors for --rescore, float32; their bits if not given"
    ),
]
_Others = Annotated[
    bool | None,
    typer.Option(
        "--keep/--drop",
        help="keep or drop texts of sources that the index has and that are not named now",
    ),
]


def command(
    sources: _Sources,
    model: _ModelOption,
    to: _To,
    chunks: _Chunks = None,
    column: Annotated[str | None, typer.Option(help="column that holds the text")] = None,
    unit: _Unit = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="instruction before every text; if not given, the encoder's own"),
    ] = None,
    prompt_name: Annotated[
        str | None, typer.Option(help="name of a prompt that the encoder stores, for the texts")
    ] = None,
    query_prompt: _QueryPrompt = None,
    truncate_dim: Annotated[
        int | None, typer.Option(min=1, help="keep only the first numbers of a vector")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="pooling of a base model")] = None,
    similarity: ComparedBy = None,
    approximate: _Approximate = False,
    precision: _Precision = None,
    rescore: _Rescore = None,
    rescore_with: _RescoreWith = None,
    keep: _Others = None,
    batch_tokens: BatchTokens = None,
    device: Device = "auto",
    dtype: DType = "auto",
    json: Json = False,
) -> None:
    """Make an index of texts for `bothways search`, or bring it up to date.

    Only new and changed texts are encoded, and texts that are gone are removed. If the command is
    stopped, run it again.
    """
    from bothways.indexing.build import index
    from bothways.search.quantized import Quantization

    given = precision is not None or rescore is not None or rescore_with is not None
    chosen = precision or "float32"
    kept = Quantization(chosen, rescore, rescore_with) if given else None  # type: ignore[arg-type]
    others: Literal["keep", "drop"] | None = None if keep is None else "keep" if keep else "drop"
    made = index(
        sources,
        model=model,
        to=to,
        chunks=None if chunks is None else passages_of(chunks),
        column=column,
        unit=unit,  # type: ignore[arg-type]
        prompt=prompt,
        prompt_name=prompt_name,
        query_prompt=query_prompt,
        truncate_dim=truncate_dim,
        pooling=pooling,
        similarity=similarity,  # type: ignore[arg-type]
        approximate=approximate,
        quantization=kept,
        others=others,
        batch_tokens=batch_tokens,
        device=device,
        dtype=dtype,
    )
    changes = made.changes
    assert changes is not None
    done = [
        f"{number} {word}"
        for word, number in (
            ("encoded", changes.encoded),
            ("copied", changes.copied),
            ("moved", changes.moved),
            ("removed", changes.removed),
            ("unchanged", changes.kept),
        )
        if number
    ]
    say(f"{made.store.place}: {changes.rows} rows; texts: {', '.join(done) or 'none'}")
    print_json({"index": made.store.place, "changes": changes})
    say_next("bothways", "search", "--index", made.store.place, "a question")
    made.close()
