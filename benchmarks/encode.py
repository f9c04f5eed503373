"""Tokens per second of encoding: bothways against sentence-transformers on the same saved folder,
same texts, in turns.

    .venv/bin/python benchmarks/encode.py [--texts FILE] [--rounds 3]

By default, the texts are those of the standard library. Compare ratios within one run. Absolute
figures are those of this machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import numpy as np

import bothways as bw
from bothways.data.text.readers import read_texts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", default="python-stdlib")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from sentence_transformers import SentenceTransformer

    texts = read_texts(options.texts, limit=options.count)
    with tempfile.TemporaryDirectory() as folder:
        bw.convert("smollm2-135m", dtype="float32", max_length=512).save(folder, replace=True)
        for dtype in ("float32", "bfloat16"):
            ours = bw.load(folder, dtype=dtype, device="cpu")
            peer = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": dtype})
            tokens = sum(len(row.ids) for row in ours.tokenize(texts))
            calls = {
                "bothways": lambda ours=ours: ours.encode(texts, show_progress_bar=False),
                "sentence-transformers, batch 32": lambda peer=peer: peer.encode(texts, batch_size=32),
                "sentence-transformers, batch 8": lambda peer=peer: peer.encode(texts, batch_size=8),
            }
            cosine = _cosine(calls["bothways"](), calls["sentence-transformers, batch 8"]())
            print(f"{dtype}: {len(texts)} texts, {tokens} tokens; least cosine between the two {cosine:.6f}")
            seconds: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(options.rounds):
                for name, call in calls.items():
                    start = time.perf_counter()
                    call()
                    seconds[name].append(time.perf_counter() - start)
            base = statistics.median(seconds["bothways"])
            for name, taken in seconds.items():
                median = statistics.median(taken)
                print(f"  {name:34} {tokens / median:8.0f} tokens/s   {median / base:5.2f} x our time")


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


if __name__ == "__main__":
    main()
