"""`bothways evaluate MODEL --task NAME[:PATH] …`: scores, on the screen and in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bothways.cli.options import BaseDirection, BasePooling, Device, DType, Model, open_encoder, say

NAME = "evaluate"


def command(
    model: Model,
    task: Annotated[list[str], typer.Option(help="stdlib, sts:PAIRS, retrieval:FOLDER, geometry:PAIRS; repeat for several")],
    out: Annotated[Path | None, typer.Option(help="results.json with scores and provenance")] = None,
    direction: BaseDirection = None,
    pooling: BasePooling = None,
    batch_tokens: Annotated[int | None, typer.Option(help="tokens per pass; chosen for the device")] = None,
    seed: Annotated[int, typer.Option(help="of metrics that draw at random")] = 0,
    device: Device = "auto",
    dtype: DType = "auto",
) -> None:
    """Score an encoder, a base LLM in either direction, or BM25 (MODEL `bm25`, retrieval only)."""
    from bothways.evaluation.bm25 import BM25
    from bothways.evaluation.evaluate import evaluate
    from bothways.evaluation.registry import make_task

    tasks = [make_task(spec) for spec in task]
    encoder = (
        BM25() if model == "bm25" else open_encoder(model, device=device, dtype=dtype, direction=direction, pooling=pooling)
    )
    results = evaluate(encoder, tasks, batch_tokens=batch_tokens, seed=seed)
    for name, metrics in results.items():
        say(name)
        for metric, value in metrics.items():
            say(f"  {metric:24} {value:.4f}")
    if out is not None:
        results.save(out)
        say(f"saved {out}")
