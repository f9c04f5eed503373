"""Time of one query, in turns: bothways in float32 and int8, with and without a graph, sentence-transformers, and
OpenVINO.

    .venv/bin/python benchmarks/latency.py [--rounds 15] [--graph FOLDER] [--json FILE]

The rows with a graph need openvino: `bothways.load(…, graph="openvino")`, the same with
`quantize="int8"`, and an OpenVINO export of the same model, written with `bothways export smollm2-135m --to openvino`
and named with `--graph`. "weights, read once" is the time of reading the float32 weights of all linear layers, which no
computation with them can beat. CPU time is given next to the time on
the clock, because it depends less on other programs. Each figure of a round is divided by that of
sentence-transformers in the same round. `--tokens` also times a longer text.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bothways as bw
from bothways.backbone.linears.shared_input import linears_of
from bothways.encoder.int8.quantize import quantize

WORDS = "how do cats and dogs sleep at night in the cold winter of the far north "
BASE = "sentence-transformers"
READ = "weights, read once"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=10)
    parser.add_argument("--texts", type=int, default=1, help="texts of a call")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--graph", help="an OpenVINO export of the model")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        encoders, account = _encoders(options.model, options.graph, options.threads, f"{folder}/encoder")
        texts = _texts(encoders["bothways"], options.tokens, options.texts)
        calls: dict[str, Callable[[], np.ndarray | None]] = {
            name: (lambda each=each: each.encode(texts)) for name, each in encoders.items()
        }
        calls[READ] = _reading(encoders["bothways"])
        rows = measure(calls, options.rounds)
    print(f"{len(texts)} texts of {options.tokens} tokens, {options.threads} threads, {options.rounds} rounds")
    for name, row in rows.items():
        print(
            f"  {name:22} {row['wall']:8.1f} ms  {row['cpu']:8.1f} ms CPU   "
            f"{row['ratio']:.2f} [{row['low']:.2f} to {row['high']:.2f}] of {BASE}'s CPU time"
            + (f"   cosine {row['cosine']:.5f}" if "cosine" in row else "")
        )
    print(account)
    if options.json is not None:
        options.json.write_text(json.dumps({"options": {**vars(options), "json": None}, "rows": rows}, indent=1))


def _encoders(model: str, graph: str | None, threads: int, folder: str) -> tuple[dict[str, Any], str]:
    """Open the same weights in each library."""
    from sentence_transformers import SentenceTransformer

    bw.convert(model, dtype="float32", device="cpu").save(folder)
    # from the folder too: equal weights in two mapped files took 0.8 and 1.6 times as long as each other
    plain = bw.load(folder, graph=None, dtype="float32", device="cpu")
    found: dict[str, Any] = {
        BASE: SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": torch.float32}),
        "bothways": plain,
    }
    small = bw.load(folder, graph=None, dtype="float32", device="cpu")
    account = str(quantize(small))
    found["bothways, int8"] = small
    if find_spec("openvino") is not None:
        found["bothways, graph"] = bw.load(folder, graph="openvino", device="cpu")
        found["bothways, int8 graph"] = bw.load(folder, graph="openvino", quantize="int8")
        account = f"{account}\ngraph: {found['bothways, int8 graph'].graph.account}"
    if graph is not None:
        found["OpenVINO"] = bw.load_export(graph, threads=threads)
    return found, account


def _reading(encoder: Any) -> Callable[[], None]:
    """Return a function that reads as many bytes as the linear layers have."""
    numbers = torch.ones(sum(each.weight.numel() for each in linears_of(encoder.backbone).values()))

    def read() -> None:
        torch.dot(numbers, numbers)

    return read


def _texts(encoder: Any, tokens: int, count: int) -> list[str]:
    """Make texts of as many tokens, by cutting one text between its tokens."""
    long = WORDS * (1 + tokens // 12)
    end = encoder.tokenize([long])[0].offsets[tokens - 1][1]
    return [long[:end]] * count


def measure(calls: dict[str, Callable[[], np.ndarray | None]], rounds: int) -> dict[str, dict[str, float]]:
    """Run each call once in each round, and give medians, ratios to `BASE` and their quartiles.

    A call that returns None has no cosine to those of bothways.
    """
    first = {name: call() for name, call in calls.items()}  # not timed
    wanted: Any = first["bothways"]
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            clock, process = time.perf_counter(), time.process_time()
            call()
            cpu[name].append(time.process_time() - process)
            wall[name].append(time.perf_counter() - clock)
    rows = {}
    for name, vectors in first.items():
        ratios = [own / base for own, base in zip(cpu[name], cpu[BASE])]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows[name] = {
            "wall": 1000 * statistics.median(wall[name]),
            "cpu": 1000 * statistics.median(cpu[name]),
            "ratio": middle,
            "low": low,
            "high": high,
        }
        if vectors is not None:
            cosine = (vectors * wanted).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(wanted, axis=1)
            rows[name]["cosine"] = float(cosine.min())
    return rows


if __name__ == "__main__":
    main()
