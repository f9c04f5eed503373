"""Broken input through the command line: every mistake must be one bounded, printable line and exit
code 2.

    python tests/fuzz/run.py [--inputs 2500] [--seed 0]        (make fuzz)

A small sound world is built once, each input copies it, breaks one file or value, and runs one
command in this process. An outcome is good when the exit code is 0 or 1, or 2 with exactly one
line; a traceback, a hang, a long or unprintable line and files left behind are not. Inputs are
drawn by the seed, so that a finding can be repeated by its number.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bothways.cli import app
from bothways.printable import LONGEST, printable_line
from fuzz.damage import damages, swapped
from fuzz.world import NUMBERS, SCENES, VALUES, build

SECONDS = 30
"""A command over the small world takes less than a second."""


class Input(NamedTuple):
    """One broken input: the command's words, the file that is broken, and how; no file when a word
    is.
    """

    words: list[str]
    file: str
    name: str
    change: Callable[[Path], None] | None

    def __str__(self) -> str:
        return f"{' '.join(self.words)!r} | {self.file} | {self.name}"


class Found(NamedTuple):
    """What came of an input: `kind` is "done", "refused", or what is wrong with it."""

    kind: str
    detail: str = ""


class _Late(BaseException):
    pass


def inputs(world: Path, seed: int, count: int) -> list[Input]:
    """`count` distinct inputs, drawn evenly over scenes and files."""
    source = random.Random(seed)
    groups = [
        *_by_file(world),
        *([[Input([*words, value], "", f"value {value!r}", None) for value in VALUES] for words in NUMBERS]),
    ]
    for group in groups:
        source.shuffle(group)
    drawn: list[Input] = []
    while len(drawn) < count and any(groups):
        drawn += [group.pop() for group in groups if group]
    return drawn[:count]


def _by_file(world: Path) -> Iterator[list[Input]]:
    everything = sorted(path for path in world.rglob("*") if path.is_file())
    for scene in SCENES:
        for name in scene.broken:
            paths = [world / name] if (world / name).is_file() else [p for p in everything if (world / name) in p.parents]
            for path in paths:
                file = str(path.relative_to(world))
                others = [
                    (f"holds {o.relative_to(world)}", swapped(o))
                    for o in everything[::3]
                    if o != path and o.stat().st_size < 10**6
                ]
                yield [Input(scene.words, file, name, change) for name, change in [*damages(path), *others]]


def run(world: Path, given: Input) -> Found:
    """Run one input in a copy of the world."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place) / "w"
        shutil.copytree(world, here)
        if given.change is not None:
            given.change(here / given.file)
        words = [_filled(word, here) for word in given.words]
        before = _listing(here)
        code, err, trace = _run(words, here)
        if trace:
            return Found("late" if "_Late" in trace[-1] else "traceback", " / ".join(trace))
        lines = err.splitlines()
        if code == 0 or code == 1:
            return Found("done")
        if code != 2:
            return Found("exit code", str(code))
        if len(lines) != 1 or len(lines[0]) > LONGEST + 1 or printable_line(lines[0], LONGEST + 1) != lines[0]:
            return Found("line", f"{len(lines)} lines, {len(err)} characters: {err[:200]!r}")
        left = sorted(_listing(here) - before)
        return Found("left", ", ".join(left[:4])) if left else Found("refused")


def _filled(word: str, here: Path) -> str:
    start, end = word.find("{"), word.rfind("}")
    if start < 0 or end < start + 2:
        return word
    return word[:start] + str(here / word[start + 1 : end]) + word[end + 1 :]


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _run(words: list[str], here: Path) -> tuple[int, str, list[str]]:
    """Exit code, stderr, and the end of a traceback."""
    err = io.StringIO()
    trace: list[str] = []
    code = -1
    last = os.getcwd()
    os.chdir(here)
    _limit(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            code = app._run(words)
    except (Exception, _Late, SystemExit) as error:
        places = [
            f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__) if "bothways" in f.filename
        ]
        trace = [*places[-2:], f"{type(error).__name__}: {str(error)[:150]}"]
    finally:
        _limit(0)
        os.chdir(last)
    return code, err.getvalue(), trace


def _limit(seconds: int) -> None:
    signal.signal(signal.SIGALRM, _ring)
    signal.alarm(seconds)


def _ring(number: int, frame: object) -> None:
    raise _Late


def silence() -> None:
    """No log lines and library warnings: what is judged is the command's own voice."""
    log = logging.getLogger("bothways")
    log.handlers, log.propagate = [logging.NullHandler()], False
    logging.getLogger().setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


def main() -> int:
    """Run the whole and print a line for each bad kind and a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="first", type=int, default=0, help="number of the first input to run")
    options = parser.parse_args()
    silence()
    began = time.monotonic()
    counts: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        world = Path(place) / "world"
        world.mkdir()
        build(world)
        drawn = inputs(world, options.seed, options.inputs)
        for number, given in enumerate(drawn):
            if number < options.first:
                continue
            found = run(world, given)
            counts[found.kind] += 1
            if found.kind not in ("done", "refused"):
                key = f"{found.kind} {found.detail.split(':', 2)[0:2]}"
                shown[key] += 1
                if shown[key] <= 3:
                    print(f"{number}: {found.kind}: {given}\n    {found.detail}", flush=True)
            if number % 250 == 249:
                print(f"... {number + 1} inputs, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    bad = sum(count for kind, count in counts.items() if kind not in ("done", "refused"))
    print(f"{len(drawn)} inputs: {', '.join(f'{count} {kind}' for kind, count in counts.most_common())}; {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
