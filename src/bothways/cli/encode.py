"""`bothways encode MODEL INPUT --out vectors.npy|.parquet`: any text in, vectors out, at constant memory."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from bothways.cli.options import Device, DType, open_encoder, say
from bothways.errors import InputError

NAME = "encode"


def command(
    model: Annotated[str, typer.Argument(help="an encoder folder, or a base model")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="texts: .txt .json .jsonl .csv .tsv .parquet, .gz of these, a folder, a hub dataset"
        ),
    ],
    out: Annotated[Path, typer.Option(help="vectors.npy, or vectors.parquet with the texts beside the vectors")],
    column: Annotated[str | None, typer.Option(help="column that holds the text")] = None,
    prompt: Annotated[str | None, typer.Option(help="instruction before every text")] = None,
    prompt_name: Annotated[str | None, typer.Option(help="name of a stored prompt")] = None,
    normalize: Annotated[bool, typer.Option(help="unit vectors")] = True,
    truncate_dim: Annotated[int | None, typer.Option(help="keep the first numbers only")] = None,
    batch_tokens: Annotated[int | None, typer.Option(help="tokens per pass; chosen for the device")] = None,
    device: Device = "auto",
    dtype: DType = "auto",
) -> None:
    """Encode every text of a source, in order."""
    from bothways.data.readers import iter_texts
    from bothways.encoder.files import SUFFIXES, write_vectors

    if out.suffix not in SUFFIXES:  # before the model is read
        raise InputError(f"--out {out}: must end in {' or '.join(SUFFIXES)}")
    texts = iter_texts(source, column=column)
    # the first text is read before the model is, so that a wrong path fails at once
    texts = chain([next(texts)], texts)
    encoder = open_encoder(model, device=device, dtype=dtype)
    options: dict[str, Any] = {"prompt": prompt, "prompt_name": prompt_name, "normalize_embeddings": normalize}
    options |= {"truncate_dim": truncate_dim, "batch_tokens": batch_tokens}
    count, dimension = write_vectors(encoder, texts, out, options)
    say(f"{out}: {count} vectors of {dimension} numbers")
