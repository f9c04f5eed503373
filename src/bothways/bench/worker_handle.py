"""The parent's end of a worker: starts it, asks it, and holds it still between its turns.

A worker that waits must not take time from the others. Some runtimes let their threads spin for a
while after a pass, so a worker is stopped (SIGSTOP) between its turns.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bothways.errors import BothwaysError
from bothways.printable import printable_line

WORKER = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[2]
"""Folder that has the package bothways, for workers in another environment."""
_CAN_STOP = hasattr(signal, "SIGSTOP")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerError(BothwaysError, RuntimeError):
    """Raised if a worker cannot do a request, ends, or takes too long."""


class Worker:
    """A process that runs `worker.py`.

    Args:
        python: interpreter of the environment that has the library.
        given: the worker's object, see `worker.Answers`. "threads" is also set for OpenMP.
        seconds: limit of one answer.
        script: the program to run, which ends with `worker.main`.
    """

    def __init__(
        self,
        python: str | os.PathLike[str],
        given: dict[str, Any],
        *,
        seconds: float = 1800.0,
        script: Path = WORKER,
    ) -> None:
        self.seconds = seconds
        threads = {name: str(given["threads"]) for name in _THREADS}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            [os.fspath(python), "-I", str(script), json.dumps({"path": str(ROOT), **given})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"},
        )

    def ask(self, do: str, **request: object) -> dict[str, Any]:
        """Send a request and return its answer, see `worker.py`.

        Raises:
            WorkerError: if the worker cannot do it, has ended, or takes too long.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._signal("SIGCONT")
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
            line = self._line()
        except BrokenPipeError:
            line = ""
        if not line:  # it is ending, and must not be stopped before that
            raise WorkerError(self._last_words())
        self._signal("SIGSTOP")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(printable_line(answer["error"], 200))
        return answer

    def _line(self) -> str:
        assert self._process.stdout is not None
        if sys.platform != "win32":
            until = time.monotonic() + self.seconds
            ready: Sequence[Any] = ()
            while not ready and time.monotonic() < until:
                ready, _, _ = select.select([self._process.stdout], [], [], 1.0)
            if not ready:
                raise WorkerError(f"no answer within {self.seconds:.0f} s")
        return self._process.stdout.readline()

    def _signal(self, name: str) -> None:
        if _CAN_STOP and self._process.poll() is None:
            self._process.send_signal(getattr(signal, name))

    def _last_words(self) -> str:
        code = self._process.wait(10)
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return printable_line(f"ended with {code}: {said[-1] if said else 'no reason given'}", 200)

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()  # a stopped process does not see a closed pipe
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # bytes that the ended process did not read
                    continue
        self._errors.close()
