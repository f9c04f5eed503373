"""Kills the verbs that write, at random times and at changes of the file system, and looks what is
left and what a second run makes of it.

    make kill                                                 the whole
    python tests/kill/kill.py --kills 1 --points 1 --verbs encode report     a small share, as tests/unit/cli/test_kill.py runs it

For each verb on a tiny random model: one run that nothing disturbs; runs that SIGKILL ends after a
random time, or right before the n-th change of the file system; each of them run again and compared
with the first, byte for byte but for dates, durations and commands. Then signals (exit codes,
leftovers), a second writer, and disks that are full (RLIMIT_FSIZE). Every run is a fork of one
process that has loaded the libraries. The last line counts; the exit code is 1 if anything was not
as it should be.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from compare import digest
from verbs import VERBS, Verb, material

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree", "os.link"}
LEFT = re.compile(r"\..*\.(part|old|lock)|.*\.(mining|work)|\.encoder\.part")
WAIT = 300


@dataclass
class Bench:
    """The material, the generator and the faults found."""

    root: Path
    generator: random.Random
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def fault(self, kind: str, what: str) -> None:
        """Note a fault."""
        self.faults.append(kind)
        print(f"{kind}: {what}", flush=True)

    def fresh(self) -> Path:
        """A folder with the material and nothing else."""
        place = Path(tempfile.mkdtemp(dir=self.root))
        for each in (self.root / "material").iterdir():
            (place / each.name).symlink_to(each)
        return place


def spawn(words: list[str], place: Path, *, at: int | None = None, limit: int | None = None) -> int:
    """Fork a child that runs a command in a folder; right before the change `at` of the file system
    there it kills itself.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.chdir(place)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
        log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        count_changes(place, at)
        from bothways.cli import main

        main(words)
        code = 0
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


def count_changes(place: Path, at: int | None) -> None:
    """Count what changes below a folder, in the file `changes` beside the log, or die right before
    one.
    """
    top, seen = str(place), 0
    counter = os.open(place / "changes", os.O_RDWR | os.O_CREAT)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not (writes or event in CHANGES) or not arguments or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        path = os.path.join(top, os.fsdecode(arguments[0]))
        if not path.startswith(top):
            return
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        os.pwrite(counter, str(seen).encode(), 0)

    sys.addaudithook(hook)


def end(child: int) -> int:
    """The exit code of a child, negative for a signal; a hang is killed and counts as one."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1000


def left(place: Path) -> list[str]:
    """Names that only a stopped writer leaves."""
    return sorted(str(each.relative_to(place)) for each in place.rglob("*") if LEFT.fullmatch(each.name))


def half(verb: Verb, place: Path, whole: dict[str, str]) -> bool:
    """Whether something half-written has a final name."""
    out = place / verb.out
    if not out.exists() or verb.out == "r.json":  # results grow task by task, and each state is whole: `--resume` reads it
        return False
    if verb.keeps:
        return (out / "config.json").exists() and not (out / "modules.json").exists()
    return digest(out) != whole


def again(verb: Verb, words: list[str]) -> list[str]:
    """The command that goes on."""
    return [*words, "--resume"] if verb.resume else words


def kills(bench: Bench, name: str, *, times: int, points: int) -> None:
    """Kill one verb, run it again and compare."""
    verb = VERBS[name]
    place = bench.fresh()
    started = time.monotonic()
    code = end(spawn(verb.words, place))
    seconds = time.monotonic() - started
    if code != 0 or left(place):
        bench.fault("CLEAN", f"{name}: exit {code}, left {left(place)}: {(place / 'log').read_text()[-600:]}")
        return
    whole = digest(place / verb.out)
    changes = int((place / "changes").read_text())
    plans: list[tuple[float | None, int | None]] = [(bench.generator.uniform(0, seconds), None) for _ in range(times)]
    # the last changes are where an output gets its name
    late = [changes - n for n in range(min(points // 2, changes))]
    plans += [(None, at) for at in [*late, *(bench.generator.randint(1, changes) for _ in range(points - len(late)))]]
    for after, at in plans:
        place = bench.fresh()
        label = f"{name} killed {f'after {after:.2f} s' if after is not None else f'at change {at} of {changes}'}"
        child = spawn(verb.words, place, at=at)
        if after is not None:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        code = end(child)
        bench.counts["kills"] += code == -signal.SIGKILL
        if half(verb, place, whole):
            bench.fault("HALF", label)
        done = code == 0 or (not verb.resume and not verb.keeps and (place / verb.out).is_dir())
        code = end(spawn(again(verb, verb.words), place)) if not done else 0
        if code != 0:
            bench.fault("STUCK", f"{label}: exit {code}: {(place / 'log').read_text()[-400:]}")
        elif digest(place / verb.out) != whole:
            now = digest(place / verb.out)
            bench.fault("UNEQUAL", f"{label}: {sorted(k for k in now.keys() | whole.keys() if now.get(k) != whole.get(k))[:5]}")
        elif left(place) and not (done and verb.out == "enc"):
            bench.fault("LEFT", f"{label}: {left(place)}")
        shutil.rmtree(place)


def stops(bench: Bench, name: str) -> None:
    """Each signal at a random time: the exit code tells it and nothing is left."""
    verb = VERBS[name]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        place = bench.fresh()
        child = spawn(verb.words, place)
        time.sleep(0.2 + bench.generator.uniform(0, 1))
        os.kill(child, number)
        code = end(child)
        bench.counts["signals"] += 1
        if code not in (0, 128 + number):
            bench.fault("SIGNAL", f"{name}: {number.name} gives exit {code}: {(place / 'log').read_text()[-400:]}")
        kept = [each for each in left(place) if not (each.endswith(".mining") and code != 0)]
        if kept:
            bench.fault("LEFT", f"{name} after {number.name}: {kept}")
        shutil.rmtree(place)


def pair(bench: Bench, name: str) -> None:
    """A second writer is refused while this process holds the output."""
    from bothways.locks import held

    verb, place = VERBS[name], bench.fresh()
    with held(place / verb.out):
        code = end(spawn(verb.words, place))
    bench.counts["pairs"] += 1
    said = (place / "log").read_text()
    if code != 2 or "another process" not in said or (place / verb.out).exists():
        # the fork knows what its parent holds, so it speaks of a thread at most if the lock itself
        # fails
        bench.fault("PAIR", f"{name}: exit {code}: {said[-300:]}")
    shutil.rmtree(place)


def full(bench: Bench, name: str) -> None:
    """A disk with little room: one line and exit 2, or done."""
    verb = VERBS[name]
    for limit in (300, 5_000, 30_000, 100_000):
        place = bench.fresh()
        code = end(spawn(verb.words, place, limit=limit))
        bench.counts["full disks"] += 1
        said = (place / "log").read_text()
        if code not in (0, 2) or "Traceback" in said:
            bench.fault("ROOM", f"{name} with {limit} bytes: exit {code}: {said[-300:]}")
        if [each for each in left(place) if not each.endswith(".mining")]:
            bench.fault("LEFT", f"{name} with {limit} bytes: {left(place)}")
        shutil.rmtree(place)


def main() -> int:
    """Run everything and print the counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=4, help="random kills of each verb")
    parser.add_argument("--points", type=int, default=10, help="kills of each verb at changes of the file system")
    parser.add_argument("--verbs", nargs="*", default=list(VERBS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only-kills", action="store_true", help="no signals, pairs and full disks")
    given = parser.parse_args()
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bothways-kill-") as folder:
        bench = Bench(Path(folder).resolve(), random.Random(given.seed))
        load_libraries()
        # in a fork, as everything that computes: torch's threads do not outlive one
        child = os.fork()
        if not child:
            material(bench.root / "material")
            os._exit(0)
        end(child)
        place = bench.fresh()
        if end(spawn([*VERBS["evaluate"].words[:-1], "results.json"], place)) != 0:
            print((place / "log").read_text())
            return 1
        shutil.copy(place / "results.json", bench.root / "material" / "results.json")
        for name in given.verbs:
            kills(bench, name, times=given.kills, points=given.points)
            if not given.only_kills:
                stops(bench, name)
                pair(bench, name)
                full(bench, name)
            print(f"{name}: done after {time.monotonic() - started:.0f} s", flush=True)
    counted = ", ".join(f"{count} {what}" for what, count in bench.counts.items())
    wrong = ", ".join(f"{kind} {count}" for kind, count in Counter(bench.faults).items()) or "all as they should be"
    print(f"{counted}: {wrong} (seed {given.seed}, {time.monotonic() - started:.0f} s)")
    return 1 if bench.faults else 0


def load_libraries() -> None:
    """Import what the verbs import, so that a fork has it."""
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sentence_transformers  # noqa: F401
    import transformers  # noqa: F401

    import bothways.ablation.ablate
    import bothways.cli.app
    import bothways.encoder.convert
    import bothways.encoder.proof.doctor
    import bothways.evaluation.evaluate
    import bothways.mining.mine
    import bothways.report.page
    import bothways.training.loop.trainer  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
