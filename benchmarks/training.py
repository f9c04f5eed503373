"""Training steps a second of bothways against llm2vec's computation, and memory that does not grow with the batch.

    .venv/bin/python benchmarks/training.py --threads 2                              # SmolLM2-135M, some twenty minutes
    .venv/bin/python benchmarks/training.py --stages simcse --rounds 3 --batch 32
    .venv/bin/python benchmarks/training.py --model runs/tiny --rounds 1 --json training.json

Each side is a process of its own (`training_sides.py`). In each round both take one step on the same examples, and the rounds
start with one side and the other in turns. The first round is not counted. A figure is the ratio of seconds within a round: the
median with quartiles. Memory is the peak of resident memory after loading, above that before the first step.

`--large` texts are one contrastive batch of bothways alone, to show that its memory stays that of `--batch` texts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

SIDES = ("bothways", "llm2vec's computation")
DEFAULTS = {"mntp": (8, 512), "simcse": (64, 128)}  # rows or texts, and tokens


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="a base model")
    parser.add_argument("--texts", default="python-stdlib", help="a source of texts")
    parser.add_argument("--stages", nargs="+", choices=list(DEFAULTS), default=list(DEFAULTS))
    parser.add_argument("--batch", type=int, help="rows (mntp) or texts (simcse) of a step; 8 and 64 if not given")
    parser.add_argument("--length", type=int, help="tokens of a row or at most of a text; 512 and 128 if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--large", type=int, default=1024, help="texts of the large contrastive batch; 0 leaves it out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        return work(json.loads(options.worker))
    record: dict[str, Any] = {"options": {**vars(options), "json": None}, "stages": {}}
    for stage in options.stages:
        batch, length = (given or usual for given, usual in zip((options.batch, options.length), DEFAULTS[stage]))
        found = record["stages"][stage] = compared(stage, batch, length, options)
        print(f"{stage}: {batch} {'rows' if stage == 'mntp' else 'texts'} of {length} tokens, {options.threads} threads")
        for side in SIDES:
            row = found[side]
            print(f"  {side:24} {1000 * row['seconds']:9.0f} ms a step   {row['mib']:7.0f} MiB   first loss {row['loss']:.4f}")
        print(
            f"  {found['ratio']:.2f} times as fast [{found['low']:.2f} to {found['high']:.2f}], "
            f"{found['memory_ratio']:.2f} of the memory",
            flush=True,
        )
    if "simcse" in options.stages and options.large:
        batch, length = (given or usual for given, usual in zip((options.batch, options.length), DEFAULTS["simcse"]))
        record["large"] = {size: alone(size, length, options) for size in (batch, options.large)}
        for size, row in record["large"].items():
            print(f"simcse, {size:5} texts: {row['seconds']:.1f} s a step, {row['mib']:.0f} MiB", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


class Worker:
    """A side in a process of its own. It waits while the other computes."""

    def __init__(self, setting: dict[str, Any], options: argparse.Namespace) -> None:
        given = {**setting, "model": options.model, "texts": options.texts, "threads": options.threads}
        command = [sys.executable, __file__, "--worker", json.dumps(given)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.loaded = self.answer()["bytes"]

    def ask(self, number: int) -> dict[str, float]:
        """Take step `number`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"error: a side ended with code {self.process.wait()}; its message is above")
        found: dict[str, float] = json.loads(line)
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compared(stage: str, batch: int, length: int, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turns. Returns a row for each side, and the ratios."""
    workers = {side: Worker(dict(stage=stage, side=side, batch=batch, length=length), options) for side in SIDES}
    taken: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(options.rounds + 1):
        for side in SIDES[:: -1 if number % 2 else 1]:
            taken[side].append(workers[side].ask(number))
    found: dict[str, Any] = {}
    for side, worker in workers.items():
        rows = taken[side][1:]
        found[side] = {
            "seconds": statistics.median(row["seconds"] for row in rows),
            "mib": (max(row["bytes"] for row in rows) - worker.loaded) / 2**20,
            "loss": taken[side][0]["loss"],
        }
        worker.close()
    ours, other = ([row["seconds"] for row in taken[side][1:]] for side in SIDES)
    ratios = [plain / own for own, plain in zip(ours, other)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    memory = found[SIDES[0]]["mib"] / found[SIDES[1]]["mib"]
    return {**found, "ratio": middle, "low": low, "high": high, "memory_ratio": memory}


def alone(batch: int, length: int, options: argparse.Namespace) -> dict[str, float]:
    """One contrastive step of bothways over `batch` texts, after a first one."""
    worker = Worker(dict(stage="simcse", side=SIDES[0], batch=batch, length=length), options)
    steps = [worker.ask(number) for number in range(2)]
    worker.close()
    return {"seconds": steps[1]["seconds"], "mib": (steps[1]["bytes"] - worker.loaded) / 2**20}


def work(given: dict[str, Any]) -> int:
    """Be a side: a number of a step comes in a line, and its figures go out in a line."""
    import torch
    from training_sides import Setting, Step

    from bothways.bench.worker import peak_memory

    torch.set_num_threads(given.pop("threads"))
    fields = {field.name for field in dataclasses.fields(Setting)}
    step = Step(Setting(**{name: value for name, value in given.items() if name in fields}))
    print(json.dumps({"bytes": forget_peak()}), flush=True)
    for line in sys.stdin:
        seconds, loss = step(int(line))
        print(json.dumps({"seconds": seconds, "loss": loss, "bytes": peak_memory()}), flush=True)
    return 0


def forget_peak() -> int:
    """Begin the peak again from the present resident memory, and return that in bytes. Linux alone can."""
    from bothways.bench.worker import peak_memory

    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("the peak of loading counts too, because this system cannot forget it", file=sys.stderr)
    return peak_memory()


if __name__ == "__main__":
    sys.exit(main())
