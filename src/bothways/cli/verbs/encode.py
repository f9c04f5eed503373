"""`bothways encode MODEL INPUT --out vectors.npy|.parquet|FOLDER`: encode a source of any size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import (
    BasePooling,
    BatchTokens,
    Device,
    DType,
    Graph,
    Model,
    Quantize,
    hold,
    open_encoder,
    passages_of,
    say,
)
from bothways.errors import InputError

if TYPE_CHECKING:
    from bothways.bulk.source_texts import Unit
    from bothways.data.text.readers import Places
    from bothways.encoder.encoder import Encoder

NAME = "encode"

_CALIBRATION = 255  # first texts of the source of which some measure the loss of int8


# Options with a long help, which the signature of the command names.
_Source = Annotated[
    str,
    typer.Argument(
        metavar="INPUT",
        help="texts: a .txt, .json, .jsonl, .csv, .tsv or .parquet file, .gz of these, a folder, a hub "
        "dataset, or python-stdlib",
    ),
]
_Out = Annotated[
    Path,
    typer.Option(
        help="file to write: .npy, or .parquet with the texts next to the vectors; or a folder for shards that a stopped run "
        "continues",
        callback=hold,
    ),
]
_Unit = Annotated[
    str | None,
    typer.Option(
        help="for .txt files: line (each line is a text) or document (each file is one, or each article that it marks); "
        "if not given, document with --chunks, else line"
    ),
]
_PromptName = Annotated[
    str | None, typer.Option(help="name of a prompt that the encoder stores, for example query")
]
_Chunks = Annotated[
    str | None,
    typer.Option(
        help="late chunking: one vector for each passage, read as part of its document; sentences, or the number of tokens "
        "of a passage"
    ),
]
_Both = Annotated[
    bool,
    typer.Option(
        "--both",
        help="for LLaRA: two vectors of each text in one pass, one of the text itself (ebae) and one of the text after it "
        "(ebar), as two columns of a .parquet or a .npy of shape (texts, 2, numbers)",
    ),
]
_TruncateDim = Annotated[
    int | None,
    typer.Option(help="keep only the first numbers of a vector; it is cut before normalizing"),
]
_Processes = Annotated[
    int | None,
    typer.Option(
        help="for a folder: number of processes that encode, each with the model in memory; 1 if not given"
    ),
]
_ShardRows = Annotated[
    int | None, typer.Option(help="for a folder: texts of a shard; 16384 if not given")
]
_On = Annotated[
    str | None,
    typer.Option(
        help="for a folder: ray, to encode on the Ray cluster that runs, or on one that is started on this machine"
    ),
]


def command(
    model: Model,
    source: _Source,
    out: _Out,
    column: Annotated[str | None, typer.Option(help="column that holds the text")] = None,
    unit: _Unit = None,
    prompt: Annotated[str | None, typer.Option(help="instruction before every text")] = None,
    prompt_name: _PromptName = None,
    normalize: Annotated[bool, typer.Option(help="scale vectors to length 1")] = True,
    chunks: _Chunks = None,
    pooling: BasePooling = None,
    both: _Both = False,
    truncate_dim: _TruncateDim = None,
    processes: _Processes = None,
    shard_rows: _ShardRows = None,
    on: _On = None,
    batch_tokens: BatchTokens = None,
    device: Device = "auto",
    dtype: DType = "auto",
    quantize: Quantize = None,
    graph: Graph = "auto",
    json: Json = False,
) -> None:
    """Encode every text of a source, in order.

    Empty texts are skipped and counted. A .parquet also names the file and row of each text. A
    folder gets Parquet shards and a manifest: if the run stops, the same command goes on.
    """
    into = out.is_dir() or out.suffix == ""
    _check_out(
        out, into, chunks, {"--processes": processes, "--shard-rows": shard_rows, "--on": on}
    )
    passages = None if chunks is None else passages_of(chunks)
    if passages is not None and truncate_dim is not None:
        raise InputError(
            "--truncate-dim: does not work with --chunks; cut the vectors of the file instead"
        )
    if both:
        _check_both(
            {
                "--chunks": chunks,
                "--prompt": prompt,
                "--prompt-name": prompt_name,
                "--pooling": pooling,
            }
        )
    if into:
        _check_folder(out, quantize, graph)
        shaped = (prompt, prompt_name, normalize, truncate_dim, batch_tokens, both, passages)
        wanted = (model, device, dtype, pooling)
        _shards(wanted, source, out, shaped, (column, unit), (processes, shard_rows, on))
        return
    places: Places = deque()
    texts = _texts(
        source,
        column,
        unit if unit is not None else "line" if passages is None else "document",
        places,
    )
    # the first text is read before the model, so that a wrong path fails at once
    first = [next(texts), *islice(texts, 0 if quantize is None else _CALIBRATION)]
    opening: dict[str, Any] = {"device": device, "dtype": dtype, "graph": graph}
    encoder = open_encoder(model, pooling=pooling, quantize=quantize, texts=first, **opening)
    texts = chain(first, texts)
    options: dict[str, Any] = {
        "prompt": prompt,
        "prompt_name": prompt_name,
        "normalize_embeddings": normalize,
    }
    options["batch_tokens"] = batch_tokens
    if passages is None:
        options["truncate_dim"] = truncate_dim
    _write(encoder, texts, out, options, places, passages, both)
    reader = "numpy.load" if out.suffix == ".npy" else "pandas.read_parquet"
    say(f"next: in Python, {reader}({str(out)!r})")


def _write(
    encoder: Encoder,
    texts: Iterator[str],
    out: Path,
    options: dict[str, Any],
    places: Places,
    passages: int | Literal["sentences"] | None,
    both: bool,
) -> None:
    """Encode texts into a file, and print how many vectors it holds."""
    from bothways.encoder.vector_files import write_both, write_chunks, write_vectors

    if passages is not None:
        documents, count, dimension = write_chunks(encoder, texts, out, passages, options, places)
        say(f"{out}: {count} vectors of {dimension} numbers, for the passages of {documents} texts")
        print_json({"out": out, "texts": documents, "vectors": count, "dimension": dimension})
        return
    if both:
        del options["prompt"], options["prompt_name"]
        count, dimension = write_both(encoder, texts, out, options, places)
        say(f"{out}: {count} texts, each with two vectors of {dimension} numbers (ebae, ebar)")
        print_json({"out": out, "texts": count, "vectors": 2 * count, "dimension": dimension})
        return
    count, dimension = write_vectors(encoder, texts, out, options, places)
    say(f"{out}: {count} vectors of {dimension} numbers")
    print_json({"out": out, "texts": count, "vectors": count, "dimension": dimension})


def _check_folder(out: Path, quantize: str | None, graph: str) -> None:
    """Raise InputError if shards are asked for in int8, or with a graph.

    Each process would measure and choose for itself. A graph is for short requests.
    """
    if graph == "openvino":
        raise InputError(
            f"--graph {graph}: is for requests of a few texts, and shards have many; leave it out"
        )
    if quantize is not None:
        raise InputError(
            f"--quantize {quantize}: not for a folder of shards, which several processes fill; give a file, for example "
            f"--out {out.name}.parquet"
        )


def _check_out(out: Path, into: bool, chunks: str | None, of_folder: dict[str, Any]) -> None:
    """Check the output before the model is read.

    Args:
        out: the output.
        into: whether it is a folder.
        chunks: the option --chunks.
        of_folder: what only a folder takes, by option.

    Raises:
        InputError: if the ending is unknown, or a number is wrong or not for a file.
    """
    from bothways.encoder.vector_files import SUFFIXES

    for option, value in of_folder.items():
        if value is not None and not into:
            raise InputError(
                f"{option} {value}: is for shards in a folder; name one, for example --out {out.stem}/"
            )
        if isinstance(value, int) and value < 1:
            raise InputError(f"{option} {value}: must be at least 1")
    if of_folder["--on"] not in (None, "ray"):
        raise InputError(f"--on {of_folder['--on']}: must be ray; leave it out for this machine")
    suffixes = SUFFIXES if chunks is None else (".parquet",)
    if not into and out.suffix not in suffixes:
        raise InputError(
            f"--out {out}: must end in {' or '.join(suffixes)}{'' if chunks is None else ' with --chunks'}, or be a folder"
        )


def _shards(
    model: tuple[str, str, str, str | None],
    source: str,
    out: Path,
    shaped: tuple[Any, ...],
    reading: tuple[str | None, str | None],
    cutting: tuple[int | None, int | None, str | None],
) -> None:
    """Encode into a folder.

    Args:
        model: name, device, dtype and pooling.
        source: the texts.
        out: the folder.
        shaped: the fields of `JobSettings`.
        reading: column and unit.
        cutting: number of processes, texts of a shard, and the place of the processes.
    """
    from bothways.bulk.encode import default_unit, encode_into, runner_of
    from bothways.bulk.model_request import ModelRequest
    from bothways.bulk.settings import JobSettings
    from bothways.bulk.source_texts import SourceTexts
    from bothways.bulk.workers import OneProcess

    (name, device, dtype, pooling), (column, unit), (processes, rows, on) = model, reading, cutting
    settings = JobSettings(*shaped)
    chosen = default_unit(settings) if unit is None else _unit(unit)
    texts = SourceTexts(source, column, chosen)

    def opened() -> Encoder:
        return open_encoder(name, device=device, dtype=dtype, pooling=pooling)

    runner = (
        OneProcess(opened, name, settings, out)
        if on is None and processes in (None, 1)
        else runner_of(
            on, ModelRequest(name, device, dtype, pooling), settings, out, texts, processes
        )
    )
    made = encode_into(out, runner, texts, rows)
    shards = len(made["shards"])
    say(
        f"{out}: {made['vectors']} vectors of {made['dimension']} numbers in {shards} shard{'' if shards == 1 else 's'}"
    )
    print_json(
        {
            "out": out,
            "texts": made["texts"],
            "vectors": made["vectors"],
            "dimension": made["dimension"],
            "shards": shards,
        }
    )
    say(f"next: in Python, bothways.read_shards({str(out)!r})")


def _check_both(given: dict[str, str | None]) -> None:
    """Refuse options that do not work with both of LLaRA's questions.

    Raises:
        InputError: if one is given.
    """
    for option, value in given.items():
        if value is not None:
            raise InputError(
                f"{option} {value}: does not work with --both, which asks the encoder's own two questions about whole texts; leave one "
                "of the two options out"
            )


def _texts(source: str, column: str | None, unit: str, places: Places) -> Iterator[str]:
    from bothways.data.text.documents import iter_documents
    from bothways.data.text.readers import iter_texts

    read = iter_texts if _unit(unit) == "line" else iter_documents
    return read(source, column=column, places=places, splits="all")


def _unit(given: str) -> Unit:
    if given not in ("line", "document"):
        raise InputError(f"--unit {given}: must be line or document")
    return cast("Unit", given)
