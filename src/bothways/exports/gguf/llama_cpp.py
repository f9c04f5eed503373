"""Runs a .gguf file in llama.cpp, in a process of its own.

llama.cpp ends the whole process on some errors and writes to the terminal, so it must not run in
the user's process. `xllamacpp` is a prebuilt wheel of it. The other process runs this file:

    python -m bothways.exports.gguf.llama_cpp FILE TOKENS < texts.json > vectors.json
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bothways.errors import BothwaysError, MissingExtra

_MARK = "vectors: "  # llama.cpp writes lines of its own to the same place


class LoaderError(BothwaysError, RuntimeError):
    """Raised if a loader cannot open or run an export. The message has the loader's own reason."""


def installed() -> bool:
    """Return whether the wheel is installed."""
    return importlib.util.find_spec("xllamacpp") is not None


def encode(
    file: Path, texts: list[str], *, tokens: int, batch: bool, seconds: float = 600.0
) -> list[list[float]]:
    """Encode texts with llama.cpp's server code, without normalizing.

    Args:
        file: a .gguf file.
        texts: texts to encode.
        tokens: tokens of the longest text. The context and the batch get this size.
        batch: if True, send all texts in one request, else each in its own.
        seconds: limit after which the process is ended.

    Raises:
        LoaderError: if llama.cpp does not load the file, or does not finish.
        MissingExtra: if xllamacpp is not installed.
    """
    if not installed():
        raise MissingExtra("xllamacpp", "verify", "running a .gguf file")
    given = json.dumps({"texts": texts, "batch": batch})
    command = [sys.executable, "-m", "bothways.exports.gguf.llama_cpp", str(file), str(tokens)]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise LoaderError(f"{file}: llama.cpp did not finish within {seconds:.0f} s") from None
    answer = next((line for line in done.stdout.splitlines() if line.startswith(_MARK)), None)
    if answer is None:
        said = [line for line in (done.stderr + done.stdout).splitlines() if "rror" in line]
        raise LoaderError(
            f"{file}: llama.cpp cannot run it ({' '.join((said or ['no reason given'])[0].split())[:300]})"
        )
    vectors: list[list[float]] = json.loads(answer.removeprefix(_MARK))
    return vectors


def _serve(file: str, tokens: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.embedding = True
    params.n_ctx = params.n_batch = params.n_ubatch = tokens
    params.n_parallel = 1
    params.warmup = False
    params.cpuparams.n_threads = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    server = xllamacpp.Server(params)
    given = json.load(sys.stdin)
    requests = [given["texts"]] if given["batch"] else [[text] for text in given["texts"]]
    vectors: list[Any] = []
    for texts in requests:
        answer = server.handle_embeddings({"input": texts, "embd_normalize": -1})
        answer = json.loads(answer) if isinstance(answer, str) else answer
        vectors += [
            each["embedding"] for each in sorted(answer["data"], key=lambda each: each["index"])
        ]
    print(_MARK + json.dumps(vectors), flush=True)  # noqa: T201 - the parent process reads it


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
