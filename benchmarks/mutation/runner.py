"""Runs tests in forks of one process that has imported torch and transformers once: open this if a
changed line takes long.

A first run without any change says which lines each test runs. A changed line is then shown to the
tests that run it, the quickest first, and, if they all pass, to all tests that import its file.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

OWN = ("bothways", "unit", "parity", "conftest", "tests", "tiny", "files", "pages", "export_models", "mutation", "__main__")
"""First parts of module names that a fork imports itself."""
MEMORY = 12 << 30
FILES_OUT = ("-m", "not shared and not real")

Lines = set[tuple[str, int]]


@dataclass
class Seen:
    """What a run without a change says: which lines each test runs, and how long it takes."""

    lines: dict[str, Lines] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)

    def tests_of(self, name: str, first: int, last: int) -> list[str]:
        """Tests that run one of the lines of a file, the quickest first.

        Lines outside of functions run once, when the first test file imports them, so any test may
        notice a change there: those that run other lines of the file come first.
        """
        wanted = {(name, line) for line in range(first, last + 1)}
        found = [test for test, lines in self.lines.items() if lines & wanted]
        if found:
            return sorted(found, key=lambda test: self.seconds[test])
        near = {test for test, lines in self.lines.items() if any(file == name for file, _ in lines)}
        return sorted(self.lines, key=lambda test: (test not in near, self.seconds[test]))


class Recorder:
    """A pytest plugin that fills a `Seen`. What a shared fixture runs counts for each test that
    takes it.
    """

    def __init__(self, sources: Path) -> None:
        self.sources = f"{sources}{os.sep}"
        self.seen = Seen()
        self.running: list[Lines] = []
        self.fixtures: dict[int, Lines] = {}

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        del argument
        if not frame.f_code.co_filename.startswith(self.sources):
            return None
        if event == "line":
            place = (frame.f_code.co_filename.removeprefix(self.sources), frame.f_lineno)
            for lines in self.running:
                lines.add(place)
        return self.trace

    @contextlib.contextmanager
    def recording(self, lines: Lines) -> Iterator[None]:
        self.running.append(lines)
        sys.settrace(self.trace)
        threading.settrace(self.trace)
        try:
            yield
        finally:
            self.running.pop()
            if not self.running:
                sys.settrace(None)
                threading.settrace(None)  # type: ignore[arg-type]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        lines = self.seen.lines.setdefault(item.nodeid, set())
        start = time.perf_counter()
        with self.recording(lines):
            done = yield
        self.seen.seconds[item.nodeid] = time.perf_counter() - start
        for fixtures in item._fixtureinfo.name2fixturedefs.values():
            for fixture in fixtures:
                lines |= self.fixtures.get(id(fixture), set())
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: object) -> Any:
        with self.recording(self.fixtures.setdefault(id(fixturedef), set())):
            return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.seen.failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.seen.failed.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.seen.modules = [name for name in sys.modules if name.partition(".")[0] not in OWN]


class Runner:
    """A copy of the tree, where sources are changed and tests are run."""

    def __init__(self, root: Path, place: Path) -> None:
        self.tree = place / "tree"
        self.sources = self.tree / "src/bothways"
        self.place = place
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=root, capture_output=True, check=True, text=True).stdout.split("\0")
        for name in filter(None, names):
            if (root / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, self.tree / name)
        os.environ |= {"PYTHONPATH": str(self.tree / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        os.environ |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"}
        # The path as `python -m pytest` has it.
        sys.path[:0] = [str(self.tree), str(self.tree / "src")]
        os.chdir(self.tree)

    def record(self, tests: list[str]) -> Seen:
        """Run tests without a change, and import here what they imported from other libraries."""
        kept = self.place / "seen"

        def run() -> int:
            recorder = Recorder(self.sources)
            code = pytest.main([*tests, *FILES_OUT, "-p", "no:xdist", "-p", "no:cacheprovider"], plugins=[recorder])
            kept.write_bytes(pickle.dumps(recorder.seen))
            return int(code)

        code = self._forked(run, 3600, log := self.place / "log")
        if not kept.is_file():
            raise SystemExit(f"The tests stopped without a result (exit code {code}):\n{log.read_text()[-2000:]}")
        seen: Seen = pickle.loads(kept.read_bytes())
        kept.unlink()
        for name in seen.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        return seen

    def notices(self, name: str, source: str, tests: list[str], seconds: float) -> bool:
        """Whether a test fails, or takes longer than some seconds, when a file has another text."""
        path = self.sources / name
        before = path.read_bytes()
        for kept in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            kept.unlink()
        path.write_text(source, encoding="utf-8")

        def run() -> int:
            sys.dont_write_bytecode = True
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            return int(pytest.main([*tests, *FILES_OUT, "-x", "-p", "no:xdist", "-p", "no:cacheprovider"]))

        try:
            return self._forked(run, seconds, self.place / "log") != 0
        finally:
            path.write_bytes(before)

    def _forked(self, function: Any, seconds: float, log: Path) -> int:
        """The exit code of a function in a fork, or -1 if it was ended: after a while, or by a
        signal.
        """
        gc.freeze()
        process = os.fork()
        if process == 0:
            os.setsid()
            # Processes that a test spawns run the main module again, which is not pytest's here.
            sys.modules["__main__"] = types.ModuleType("__main__")
            with log.open("wb") as stream:
                os.dup2(stream.fileno(), 1)
                os.dup2(stream.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            tempfile.tempdir = str(self.place / "tmp")
            os.environ["TMPDIR"] = tempfile.tempdir
            Path(tempfile.tempdir).mkdir(exist_ok=True)
            code = 99
            with contextlib.suppress(BaseException):
                code = function()
            sys.stdout.flush()
            os._exit(code)
        try:
            return self._waited(process, time.monotonic() + seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            shutil.rmtree(self.place / "tmp", ignore_errors=True)

    @staticmethod
    def _waited(process: int, end: float) -> int:
        while time.monotonic() < end:
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else -1
            time.sleep(0.02)
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return -1
