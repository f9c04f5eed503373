"""`bothways bench [MODEL]`: compare the speed with other libraries, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.options import Model, hold, say

NAME = "bench"

# Options with a long help, which the signature of the command names.
_Texts = Annotated[
    str,
    typer.Option(
        help="your own texts: a file, folder or hub dataset, whose texts are the paragraphs"
    ),
]
_Peers = Annotated[
    str | None,
    typer.Option(
        help="peers to run, by the beginning of their names, separated by semicolons, for example "
        '"llama.cpp;sentence-transformers, batch 8"; all that are installed if not given'
    ),
]
_Workloads = Annotated[
    str | None,
    typer.Option(
        help="some of queries, short, paragraphs, documents, separated by commas; all if not given"
    ),
]
_Work = Annotated[
    Path | None,
    typer.Option(
        help="folder for the exports of the model, which the next run uses again; a temporary one if not given"
    ),
]
_Minutes = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="begin no round that would end later than so many minutes after the warm-up began; "
        "one is always counted",
    ),
]
_Environments = Annotated[
    Path,
    typer.Option(help="folder with the environments .venv-bench-*, which make bench installs"),
]


def command(
    model: Model = "smollm2-135m",
    texts: _Texts = "python-stdlib",
    peers: _Peers = None,
    workloads: _Workloads = None,
    dtype: Annotated[
        str, typer.Option(help="type of the peers that can choose: float32, bfloat16 or auto")
    ] = "float32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="threads of every peer; all cores if not given")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="rounds that are counted")] = 5,
    minutes: _Minutes = None,
    scale: Annotated[
        float, typer.Option(min=1e-6, help="share of the texts; 1 is 10,000 short queries")
    ] = 0.05,
    out: Annotated[Path, typer.Option(help="JSON file for all figures", callback=hold)] = Path(
        "runs/bench.json"
    ),
    work: _Work = None,
    environments: _Environments = Path(),
    json: Json = False,
) -> None:
    """Compare the speed of encoding with other libraries, on this machine.

    They are sentence-transformers, llm2vec, llama.cpp, ONNX Runtime and OpenVINO. All of them have
    the same weights, texts and threads, and run in turns. The vectors are compared too. A library
    that is not installed is named: make bench installs all of them.
    """
    import json as json_library

    from bothways.atomic import atomic_file
    from bothways.bench.peers import chosen
    from bothways.bench.run_bench import Setting, run_bench
    from bothways.bench.table import comparison_table
    from bothways.bench.workloads import FULL
    from bothways.data.text.readers import read_texts

    names = (
        tuple(FULL) if workloads is None else tuple(each.strip() for each in workloads.split(","))
    )
    setting = Setting(model, dtype, threads, rounds, minutes, scale, names, environments)
    listed = chosen(None if peers is None else peers.split(";"))
    paragraphs = read_texts(texts, limit=20_000, splits="all")
    record = run_bench(setting, paragraphs, listed, say=say, work=work)
    record["texts"] = texts
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as part:
        part.write_text(json_library.dumps(record, indent=1) + "\n", encoding="utf-8")
    say("")
    say(comparison_table(record))
    say(f"All figures are in {out}.")
    print_json(record)
