"""A whole book as one text: time and peak memory of `bothways encode` by the length of the text.

Run: .venv/bin/python benchmarks/book.py --lengths 8192 32768 100774 [--direction causal] [--chunks
sentences]

The command is the one a user types, in a process of its own for each length, so time and peak hold
Python, libraries and model too. The text is a novel of ../shared/data/novels ("The Grand Babylon
Hotel", 100,774 tokens of SmolLM2), or the beginning of it; attention is full over all of it, with
positions stretched to the book's length. Encoders so stretched without training say nothing about
quality.

Cost grows with the square of the length: SmolLM2-135M takes about 0.54e-6 seconds of a Zen 4 core a
pair of tokens causally, an hour and a half for the whole book, and twice that in both directions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from transformers import AutoTokenizer

from bothways.data.rows import iter_rows

NOVELS = Path(__file__).resolve().parents[2] / "shared" / "data" / "novels" / "valid.jsonl.gz"
BOOK = "Bennet_Babylon_1902"
WHOLE = 100_774  # tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[8192, 32768, WHOLE], help="tokens of the text")
    parser.add_argument("--model", default="smollm2-135m", help="base model")
    parser.add_argument("--direction", choices=["bidirectional", "causal"], default="bidirectional")
    parser.add_argument("--chunks", help="late chunking: sentences, or tokens of a passage")
    options = parser.parse_args()
    if not NOVELS.exists():
        raise SystemExit(f"error: {NOVELS}: not there; the book is one of that file")
    print("| tokens | seconds | peak MB | vectors |\n|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        encoder = place / "encoder"
        bothways(
            "convert", options.model, "--direction", options.direction, "--context", str(max(options.lengths)), "--out", encoder
        )
        for length in options.lengths:
            text = place / "book.jsonl"
            text.write_text(json.dumps({"text": beginning(encoder, length)}), encoding="utf-8")
            vectors = place / f"{length}.parquet"
            more = ["--chunks", options.chunks] if options.chunks else []
            done = bothways("encode", encoder, text, "--out", vectors, *more)
            count = done.said.split(": ")[1].split()[0]
            print(f"| {length:,} | {done.seconds:.0f} | {done.peak / 1e6:,.0f} | {count} |", flush=True)


class Done(NamedTuple):
    """Of one command: seconds of its life, peak of its memory in bytes, the last line it said."""

    seconds: float
    peak: int
    said: str


def bothways(*arguments: object) -> Done:
    """Run a command; where it fails, its message ends this program too."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        command = subprocess.Popen([Path(sys.executable).with_name("bothways"), *map(str, arguments)], stdout=out)
        # wait4: the peak of this child, where RUSAGE_CHILDREN has that of the largest so far
        _, status, usage = os.wait4(command.pid, 0)
        command.returncode = os.waitstatus_to_exitcode(status)
        if command.returncode:
            raise SystemExit(command.returncode)
        out.seek(0)
        said = out.read().strip().splitlines()[-1]
    return Done(time.perf_counter() - start, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), said)


def beginning(encoder: Path, length: int) -> str:
    """The book's first characters, of so many tokens."""
    book = next(values["text"] for _, values in iter_rows(NOVELS) if values["id"] == BOOK)
    # verbose: the whole book may be longer than the encoder, which reads no more than `length` of
    # it
    offsets = AutoTokenizer.from_pretrained(encoder)(
        book, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    ).offset_mapping
    if length > len(offsets):
        raise SystemExit(f"error: --lengths {length}: the book has {len(offsets)} tokens")
    return book[: offsets[length - 1][1]]


if __name__ == "__main__":
    main()
