"""What a large number costs: texts that are streamed, exact search, and mining, at bounded memory.

    .venv/bin/python benchmarks/scale.py                                      some two minutes
    .venv/bin/python benchmarks/scale.py --only train                         the memory of a streamed training
    .venv/bin/python benchmarks/scale.py --texts 1000 10000 100000 1000000 --documents 1000000 --corpus 300000 --queries 1000

| section | measured |
|---|---|
| encode | `Encoder.encode_stream` over a generator of that many texts, with a small random model: processor time of a text |
| search | the ten nearest of --documents unit vectors on disk: ours, ours over FAISS, FAISS alone, numpy by blocks of queries |
| mine | `mine(method="dense")` for --rows rows over --corpus texts, next to FAISS's and numpy's plain search of the same vectors |
| train | `bothways train` over --megabytes of text, streamed (`data.stream`), and once read whole: peak memory of the command |

Every figure is taken in a process of its own, in turns (--rounds), and the median counts. "memory" is the peak of the
anonymous memory, sampled every 10 ms. Pages of a mapped file are not part of it, because the system takes them back.
All searches must find the same documents.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

TOP = 10
WORDS = ("river", "mountain", "letter", "list", "error", "open", "rain", "number", "window", "brother", "file", "line")
SECTIONS = ("encode", "search", "mine", "train")
SEARCHES = ("bothways exact", "bothways faiss", "faiss", "numpy")
BLOCK = 65_536  # vectors of one draw


class Peak:
    """The peak of this process's anonymous memory while the block runs."""

    def __enter__(self) -> Peak:
        self.first = self.most = anonymous()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self.most = max(self.most, anonymous())

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self.most = max(self.most, anonymous())


def anonymous() -> int:
    """Bytes of resident memory that no file holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("error: needs Linux's /proc")


# --- one cell, in a process of its own ------------------------------------------------


def texts(count: int) -> Iterator[str]:
    generator = np.random.default_rng(0)
    for number in range(count):
        size = int(generator.integers(4, 20))
        yield f"{number} " + " ".join(WORDS[place] for place in generator.integers(0, len(WORDS), size))


def encode(folder: Path, count: int) -> dict[str, Any]:
    import bothways as bw

    encoder = bw.load(folder / "encoder", device="cpu", dtype="float32")
    encoder.encode([text for text, _ in zip(texts(512), range(512))], show_progress_bar=False)  # shapes of the kernels
    seen = 0
    with Peak() as peak:
        wall, begun = time.perf_counter(), time.process_time()
        for part, vectors in encoder.encode_stream(texts(count), show_progress_bar=False):
            seen += len(part)
            assert len(vectors) == len(part)
        used = {"cpu": time.process_time() - begun, "seconds": time.perf_counter() - wall}
    assert seen == count
    return {"cpu_ms_per_text": 1e3 * used["cpu"] / count, "texts_per_second": count / used["seconds"], "memory": peak.most}


def vectors(seed: int, count: int, width: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def search(folder: Path, how: str, queries: int) -> dict[str, Any]:
    files = sorted((folder / "documents").glob("*.npy"))
    asked = np.load(folder / "queries.npy")[:queries]
    calls: dict[str, Callable[[], np.ndarray]] = {
        "bothways exact": lambda: ours(files, asked, "exact"),
        "bothways faiss": lambda: ours(files, asked, "faiss"),
        "faiss": lambda: flat(files, asked),
        "numpy": lambda: plain(files, asked),
    }
    import faiss  # noqa: F401 - their imports are not part of the time

    import bothways.search.dense  # noqa: F401

    with Peak() as peak:
        start = time.perf_counter()
        found = calls[how]()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "memory": peak.most - peak.first, "found": found.tolist()}


def ours(files: list[Path], asked: np.ndarray, backend: Any) -> np.ndarray:
    from bothways.search.dense import DenseIndex
    from bothways.search.vector_shards import Shards

    arrays = [np.load(file, mmap_mode="r") for file in files]
    shards = Shards(arrays, len(arrays[0]))
    index = DenseIndex(shards, shards.count, backend=backend)
    return np.stack([places for places, _ in index.search(asked, TOP)])


def flat(files: list[Path], asked: np.ndarray) -> np.ndarray:
    import faiss

    index = faiss.IndexFlatIP(asked.shape[1])
    for file in files:
        index.add(np.load(file))
    return index.search(asked, TOP)[1]


def plain(files: list[Path], asked: np.ndarray) -> np.ndarray:
    """All vectors in memory, and the scores of 64 queries at a time."""
    documents = np.concatenate([np.load(file) for file in files])
    found = []
    for start in range(0, len(asked), 64):
        scores = asked[start : start + 64] @ documents.T
        near = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
        order = np.take_along_axis(-scores, near, 1).argsort(1, kind="stable")
        found.append(np.take_along_axis(near, order, 1))
    return np.concatenate(found)


def hashed(given: list[str]) -> np.ndarray:
    """A fast encoder: the vector of a text is drawn with the checksum of the text."""
    drawn = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(64, dtype=np.float32) for text in given]
    return np.stack([row / np.linalg.norm(row) for row in drawn])


def mine(folder: Path, how: str, corpus: int, rows: int) -> dict[str, Any]:
    import faiss  # noqa: F401 - their imports are not part of the time

    import bothways.search.dense  # noqa: F401
    from bothways.data.labeled.example import Example
    from bothways.mining.mine import mine as mine_rows

    documents = list(texts(corpus))
    queries = [f"question {number}" for number in range(rows)]
    with Peak() as peak:
        start = time.perf_counter()
        if how == "bothways":
            examples = [Example(query=query, positives=(documents[number],)) for number, query in enumerate(queries)]
            mined = mine_rows(
                examples, documents, method="dense", perc=None, encoder=hashed, work=folder / "mine", progress=False
            )
            count = sum(len(each.negatives) for each in mined.examples)
        else:
            made = np.concatenate([hashed(documents[first : first + BLOCK]) for first in range(0, corpus, BLOCK)])
            np.save(folder / "mined.npy", made)
            del made
            search_all = flat if how == "faiss" else plain
            count = search_all([folder / "mined.npy"], hashed(queries)).size
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "memory": peak.most - peak.first, "negatives": count}


def train(folder: Path, how: str, megabytes: int, steps: int) -> dict[str, Any]:
    """SimCSE through the command line. The memory is of the whole process, libraries included."""
    from bothways.cli import main as command

    data = folder / f"texts-{megabytes}"
    if not data.exists():
        write_texts(data, megabytes)
    stage = {
        "name": "simcse",
        "objective": {"kind": "contrastive", "max_length": 32},
        "data": {"source": str(data), **({"stream": {"buffer": 2000}} if how == "stream" else {})},
        "batch": {"size": 64},
        "optim": {"lr": 1e-3, "steps": steps},
        "adapter": {"r": 4},
        "save_every": None,
    }
    recipe = folder / "recipe.yaml"  # JSON is YAML
    values = {"name": "scale", "base": str(folder / "base"), "dtype": "float32", "stages": [stage]}
    recipe.write_text(json.dumps(values), encoding="utf-8")
    with Peak() as peak, tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        command(["train", str(recipe), "--out", f"{out}/run"])
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "memory": peak.most}


def write_texts(folder: Path, megabytes: int) -> None:
    """Lines of some 100 bytes in shards of 4 MB."""
    folder.mkdir()
    number = 0
    for shard in range(-(-megabytes // 4)):
        with (folder / f"{shard:05d}.txt").open("w", encoding="utf-8") as file:
            while file.tell() < min(4, megabytes - 4 * shard) * 1_000_000:
                part = list(texts(500))
                file.write("".join(f"{number + place} {text}\n" for place, text in enumerate(part)))
                number += len(part)


# --- all cells ------------------------------------------------------------------------


def cell(options: argparse.Namespace, folder: Path, *words: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--cell", str(folder), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(map(str, words))}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def one(folder: str, what: str, *words: str) -> dict[str, Any]:
    if what == "encode":
        return encode(Path(folder), int(words[0]))
    if what == "search":
        return search(Path(folder), words[0], int(words[1]))
    if what == "train":
        return train(Path(folder), words[0], int(words[1]), int(words[2]))
    return mine(Path(folder), words[0], int(words[1]), int(words[2]))


def prepare(options: argparse.Namespace, folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import bothways as bw
    from tiny import tiny_llama

    bw.convert(tiny_llama(folder / "base"), device="cpu", dtype="float32").save(folder / "encoder")
    (folder / "documents").mkdir()
    for number, first in enumerate(range(0, options.documents, BLOCK)):
        count = min(BLOCK, options.documents - first)
        np.save(folder / "documents" / f"{number:06d}.npy", vectors(number + 1, count, options.width))
    np.save(folder / "queries.npy", vectors(0, options.queries, options.width))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, nargs="+", default=[1000, 10_000, 40_000])
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=256, help="numbers of a vector")
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--corpus", type=int, default=50_000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[4, 32, 128], help="of text, for train")
    parser.add_argument(
        "--steps", type=int, default=100, help="of train; the last size is streamed for three times as many too"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=("encode", "search", "mine"))
    parser.add_argument("--out", type=Path, default=Path("runs/scale.json"))
    parser.add_argument("--cell", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.cell:
        print(json.dumps(one(*options.cell)))
        return 0
    record: dict[str, Any] = {key: value for key, value in vars(options).items() if key not in ("out", "cell")}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(options, folder)
        sections: dict[str, list[tuple[object, ...]]] = {
            "encode": [(count,) for count in options.texts],
            "search": [(how, options.queries) for how in SEARCHES],
            "mine": [(how, options.corpus, options.rows) for how in ("bothways", "faiss", "numpy")],
            "train": trainings(options),
        }
        for section in options.only:
            taken: dict[str, list[dict[str, Any]]] = {}
            for _ in range(options.rounds):
                for words in sections[section]:
                    name = " ".join(map(str, words)) if section == "train" else str(words[0])
                    taken.setdefault(name, []).append(cell(options, folder, section, *words))
            record[section] = {name: summary(cells) for name, cells in taken.items()}
            for name, figures in record[section].items():
                shown = {key: round(value, 4) for key, value in figures.items()}
                print(f"{section}, {name}: {shown}", flush=True)
            if section == "search":
                same = {name: agreement(cells[0]["found"], taken["numpy"][0]["found"]) for name, cells in taken.items()}
                record["same_documents"] = same
                print(f"search: share of numpy's documents found {same}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def trainings(options: argparse.Namespace) -> list[tuple[object, ...]]:
    """Each size streamed, the last one for longer, and the first and the last read whole."""
    sizes, steps = options.megabytes, options.steps
    streamed = [("stream", size, steps) for size in sizes]
    whole = [("whole", size, steps) for size in sorted({sizes[0], sizes[-1]})]
    return [*streamed, ("stream", sizes[-1], 3 * steps), *whole]


def summary(cells: list[dict[str, Any]]) -> dict[str, float]:
    """The median of each figure. Memory is in MiB."""
    found = {key: statistics.median(each[key] for each in cells) for key in cells[0] if key != "found"}
    return {key: value / 2**20 if key == "memory" else value for key, value in found.items()}


def agreement(found: list[list[int]], expected: list[list[int]]) -> float:
    """The share of documents that both found, in the same rows."""
    return statistics.mean(len(set(a) & set(b)) / len(b) for a, b in zip(found, expected))


if __name__ == "__main__":
    sys.exit(main())
