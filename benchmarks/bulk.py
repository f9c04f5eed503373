"""Encodes many short texts into shards in three ways, and compares the vectors.

    python benchmarks/bulk.py                                200,000 texts: one process, then two
    python benchmarks/bulk.py --ray                          and two processes of a Ray cluster

A process is killed in the middle of each run of two. The table shows seconds, the memory of all
processes (RSS, MiB) when a quarter, half and all of the shards are there, and the largest
difference from the vectors of one process. The model is tiny and random.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

import bothways as bw

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

WORDS = ("river", "stone", "garden", "window", "letter", "music", "winter", "bridge", "market", "color", "engine", "summer")


def material(folder: Path, count: int) -> tuple[Path, Path]:
    """A saved encoder and a JSONL of short texts."""
    from tiny import tiny_llama

    bw.convert(tiny_llama(folder / "base"), dtype="float32", device="cpu").save(folder / "encoder")
    generator = random.Random(0)
    with (folder / "texts.jsonl").open("w") as file:
        for number in range(count):
            file.write(f'{{"text": "{" ".join(generator.sample(WORDS, 5))} {number}"}}\n')
    return folder / "encoder", folder / "texts.jsonl"


def members(process: psutil.Process, *, ray: bool) -> list[psutil.Process]:
    """The processes of a run. Those of a cluster are not children of the command."""
    if not ray:
        return [process, *process.children(recursive=True)]
    return [process, *(each for each in psutil.process_iter(["name"]) if (each.info["name"] or "").startswith("ray::"))]


def memory(processes: list[psutil.Process]) -> int:
    """RSS of processes in MiB."""
    total = 0
    for each in processes:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total >> 20


def run(words: list[str], out: Path, shards: int, *, kill: bool, ray: bool) -> dict[str, float]:
    """Run a command, kill one of its processes at a third, and read the memory in between."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "bothways", "encode", *words, "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: said.extend(process.stderr or []))
    reader.start()
    watched = psutil.Process(process.pid)
    found: dict[str, float] = {}
    killed = not kill
    while process.poll() is None:
        done = len(list(out.glob("shard-*.parquet"))) / shards if out.is_dir() else 0
        others = members(watched, ray=ray)[1:]
        if not killed and done >= 1 / 3:
            workers = [each for each in others if memory([each]) > 300]
            if workers:
                os.kill(workers[-1].pid, signal.SIGKILL)
                killed = True
        for name, share in (("quarter", 0.25), ("half", 0.5), ("end", 0.95)):
            if done >= share and name not in found:
                found[name] = memory([watched, *others])
        time.sleep(0.02)
    reader.join()
    if process.returncode:
        sys.exit("".join(said)[-3000:])
    found["seconds"] = time.monotonic() - begin
    print("".join(line for line in said if "SIGKILL" in line or "was lost" in line), end="")
    return found


def main() -> None:
    """Run all ways and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--shard-rows", type=int, default=5_000)
    parser.add_argument("--ray", action="store_true", help="also on Ray: on the cluster that runs, or a new one")
    given = parser.parse_args()
    ways: list[tuple[str, list[str]]] = [("one process", []), ("two processes", ["--processes", "2"])]
    if given.ray:
        ways.append(("two on Ray", ["--processes", "2", "--on", "ray"]))
    with tempfile.TemporaryDirectory(prefix="bothways-bulk-") as place:
        folder = Path(place)
        model, texts = material(folder, given.texts)
        shards = -(-given.texts // given.shard_rows)
        print(
            f"{given.texts:,} texts, {shards} shards\n\n| | seconds | quarter | half | end | difference |\n|---|---|---|---|---|---|"
        )
        first: np.ndarray | None = None
        for name, words in ways:
            out = folder / name.replace(" ", "-")
            options = [str(model), str(texts), "--shard-rows", str(given.shard_rows), "--device", "cpu", *words]
            figures = run(options, out, shards, kill=bool(words), ray="--on" in words)
            vectors = bw.read_shards(out, verify=True).array()
            first = vectors if first is None else first
            cells = [f"{figures.get(key, 0):.0f}" for key in ("seconds", "quarter", "half", "end")]
            print(f"| {name} | {' | '.join(cells)} | {float(np.abs(vectors - first).max()):.1e} |", flush=True)


if __name__ == "__main__":
    main()
