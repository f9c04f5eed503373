"""Children that start at once: forks of processes that have imported the libraries already.

A fresh process needs some five seconds to import torch, transformers and sentence-transformers, on a
slow machine twenty. Nothing has been computed in the process that forks, so its children are as good
as new.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch.multiprocessing as mp

# What a child of a test imports. `torch.multiprocessing` has the same server for all its children.
PRELOAD = ["torch.distributed", "transformers.modeling_utils", "accelerate", "peft", "bothways.training.loop.trainer"]

OTHER_MACHINE = """
import json, os, signal, sys, traceback
sys.modules["bothways"] = None  # importing it fails, as where it is not installed
import numpy, torch
import sentence_transformers
import transformers.dynamic_module_utils as dynamic
assert hasattr(dynamic, "HF_MODULES_CACHE")
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(300)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            out = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1), os.dup2(out, 2)
            torch.set_num_threads(1)
            # where transformers copies code from model folders to
            dynamic.HF_MODULES_CACHE = asked["modules"]
            sys.argv = ["-c", *asked["words"]]
            exec(compile(asked["code"], "other machine", "exec"), {"__name__": "__main__"})
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.__stdout__.write(json.dumps(status) + "\\n"), sys.__stdout__.flush()
"""


def preload() -> None:
    """Say what the server of `forkserver` imports. It starts with the first child."""
    multiprocessing.set_forkserver_preload(PRELOAD)


def start(function: Callable[..., None], arguments: Sequence[Any], count: int) -> None:
    """Call function(rank, *arguments) in `count` processes, and wait for all of them."""
    mp.start_processes(function, tuple(arguments), nprocs=count, start_method="forkserver")


def ranks(function: Callable[..., None], arguments: Sequence[Any], settings: Mapping[str, str], count: int = 2) -> None:
    """Call function(*arguments) in `count` processes with the environment that `torchrun` gives."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fixed = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    start(_rank, (function, tuple(arguments), {**fixed, **settings}), count)


def _rank(rank: int, function: Callable[..., None], arguments: Sequence[Any], settings: Mapping[str, str]) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update({**settings, "RANK": str(rank), "LOCAL_RANK": str(rank)})
    try:
        function(*arguments)
    except BaseException:
        traceback.print_exc()
        raise


@cache
def _other_machine() -> subprocess.Popen[str]:
    modules = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, modules, ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "HF_MODULES_CACHE": modules}
    started = subprocess.Popen(
        [sys.executable, "-c", OTHER_MACHINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    atexit.register(started.kill)
    return started


def without_bothways(code: str, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program with arguments as on a machine where bothways is not installed.

    Everything that it prints is in `stderr`.
    """
    machine = _other_machine()
    assert machine.stdin is not None and machine.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "output")
        asked = {"code": code, "words": list(words), "output": str(output), "modules": str(Path(folder, "modules"))}
        machine.stdin.write(json.dumps(asked) + "\n")
        machine.stdin.flush()
        answer = machine.stdout.readline()
        assert answer, "the process without bothways has ended; its own errors are above"
        status = json.loads(answer)
        return subprocess.CompletedProcess(["other machine", *words], status, "", output.read_text(encoding="utf-8"))
