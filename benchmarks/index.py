"""An index of random unit vectors: seconds to fill and to search it, memory and disk.

    .venv/bin/python benchmarks/index.py [--rows 100000] [--dimension 384] [--to lance] [--approximate]
    .venv/bin/python benchmarks/index.py --rows 1000000

No model runs, so the figures are the store's alone: encoding a million passages takes far longer.
In parentheses is the processor time, which other programs change less.
Each row has a text of ten words, for the hybrid search. The recall is that of the first ten.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bothways.indexing.index_rows import Entry, digest_of, document_name, row_name
from bothways.indexing.places import open_store
from bothways.indexing.searching import Index
from bothways.indexing.settings import IndexSettings

BATCH = 8192


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--to", choices=("lance", "faiss"), default="lance")
    parser.add_argument("--approximate", action="store_true")
    parser.add_argument("--no-hybrid", dest="hybrid", action="store_false")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / ("x.faiss" if options.to == "faiss" else "x")
        settings = IndexSettings(
            model="",
            fingerprint="",
            dtype="float32",
            dimension=options.dimension,
            approximate=options.approximate,
            finished=True,
        )
        watch = Watch()
        store = open_store(place, settings)
        for first in range(0, options.rows, BATCH):
            store.add(*batch(first, min(first + BATCH, options.rows), options.dimension))
        store.finish(approximate=options.approximate)
        store.close()
        filled = watch.read()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        print(
            f"{options.to}, {options.rows} rows of {options.dimension} numbers: filled in {filled}, {size / 1e6:.0f} MB on disk, "
            f"peak memory {peak():.0f} MB",
            flush=True,
        )
        watch = Watch()
        index = Index(open_store(place))
        index.search_vector("w1", batch(0, 1, options.dimension)[1][0], top=1, exact=True)
        print(f"  opened, its files compared, and searched once: {watch.read()}", flush=True)
        search(index, options)


def search(index: Index, options: argparse.Namespace) -> None:
    """Time single queries, and count how many of the nearest an approximate search finds."""
    rng = np.random.default_rng(1)
    queries = unit(rng.normal(size=(options.queries, options.dimension)).astype(np.float32))
    kinds = {"exact": {"exact": True}}
    if options.approximate:
        kinds["approximate"] = {}
    if options.hybrid:
        kinds["hybrid"] = {"exact": True, "hybrid": True}
    kinds["with a condition"] = {"exact": True, "where": f"row < {options.rows // 10}"}
    nearest: list[set[int]] = []
    for name, chosen in kinds.items():
        watch = Watch()
        index.search_vector("w1 w2", queries[0], top=10, **chosen)
        first = watch.read()
        whole, seconds, found = Watch(), [], []
        for query in queries:
            begun = time.monotonic()
            hits = index.search_vector("w1 w2", query, top=10, **chosen)
            seconds.append(time.monotonic() - begun)
            found.append({hit.row for hit in hits})
        nearest = nearest or found
        recall = statistics.mean(len(one & other) / 10 for one, other in zip(found, nearest))
        used = whole.used() / len(queries)
        shown = f", recall {recall:.2f}" if name == "approximate" else ""
        print(
            f"  {name}: first {first}, then {1e3 * statistics.median(seconds):.0f} ms a query ({1e3 * used:.0f} ms; slowest "
            f"{1e3 * max(seconds):.0f} ms){shown}; peak memory {peak():.0f} MB",
            flush=True,
        )
    index.close()


class Watch:
    """Measures time, and the processor time of this process."""

    def __init__(self) -> None:
        self._begun, self._used = time.monotonic(), time.process_time()

    def used(self) -> float:
        return time.process_time() - self._used

    def read(self) -> str:
        return f"{time.monotonic() - self._begun:.1f} s ({self.used():.1f} s)"


def batch(first: int, last: int, dimension: int) -> tuple[list[Entry], np.ndarray]:
    """Make rows with random vectors that depend on their numbers alone."""
    rng = np.random.default_rng(first)
    words = rng.zipf(1.3, size=(last - first, 10)) % 50_000
    entries = []
    for row, some in zip(range(first, last), words):
        text = " ".join(f"w{word}" for word in some)
        digest = digest_of(text)
        document = document_name("s", "f", row, digest)
        entries.append(Entry(row_name(document, 0, len(text)), document, digest, "s", "f", row, 0, len(text), text))
    return entries, unit(rng.normal(size=(last - first, dimension)).astype(np.float32))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def peak() -> float:
    """Return the peak memory of this process in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
