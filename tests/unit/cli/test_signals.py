"""A polite kill and a closed terminal end a command as Ctrl-C does; nohup goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiny import tiny_llama

COMMAND = [sys.executable, "-c", "from bothways.cli import main; main()"]
SENTENCES = ("a short text", "the other one is longer than the first", "a third")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"))


def start(words: list[str], here: Path, *, ignored: bool = False) -> subprocess.Popen[str]:
    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)

    return subprocess.Popen(
        [*COMMAND, *words], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=prepare
    )


def wait(process: subprocess.Popen[str], here: Path, pattern: str) -> None:
    deadline = time.monotonic() + 120
    while not list(here.rglob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_command_and_leaves_nothing(number: signal.Signals, code: int, base: Path, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("\n".join(f"{text} {place}" for place in range(20_000) for text in SENTENCES))
    process = start(["encode", str(base), "many.txt", "--out", "deep/v.npy", "--device", "cpu"], tmp_path)
    try:
        wait(process, tmp_path, ".v.npy.lock")  # libraries are being loaded
        time.sleep(0.3)
        process.send_signal(number)
        process.send_signal(number)  # as a terminal does
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (code, "")
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["many.txt"]


def test_a_process_that_ignores_hangups_goes_on(base: Path, tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("\n".join(SENTENCES))
    process = start(["encode", str(base), "some.txt", "--out", "v.npy", "--device", "cpu"], tmp_path, ignored=True)
    try:
        wait(process, tmp_path, ".v.npy.lock")
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["some.txt", "v.npy"]


def test_handlers_are_put_back_and_what_a_library_makes_of_a_signal_is_no_error_of_its_own(monkeypatch, capsys) -> None:
    from bothways.cli import app, main, signals

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]

    class Library:
        def make_context(self, *_: object) -> Library:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
            except KeyboardInterrupt:
                raise RuntimeError("a library's words") from None
            raise AssertionError("no signal came")

    monkeypatch.setattr(app.typer.main, "get_command", lambda _: Library())
    with pytest.raises(SystemExit) as done:
        main(["recipes"])
    assert done.value.code == 143
    assert capsys.readouterr().err == "interrupted\n"
    assert [signal.getsignal(number) for number in numbers] == before
    assert not signals.was_stopped(), "a later command in this process would end as stopped"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_inside_a_finalizer_is_not_lost(name: str) -> None:
    """Python prints what `__del__` raises, and goes on."""
    code = f"""
import os, signal, time
from bothways.cli.signals import CommandStopped, signals

class Ended:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        for _ in range(100_000):
            pass

with signals() as received:
    try:
        ended = Ended()
        del ended
        time.sleep(30)
        print("went on")
    except CommandStopped:
        print(received.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.stdout, done.stderr) == (f"{128 + getattr(signal, name)}\n", "")


def test_a_signal_while_torch_is_imported_waits_for_the_end_of_it(tmp_path: Path) -> None:
    """Its C++ code would abort the process."""
    (tmp_path / "torch.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.2)\nprint('imported', flush=True)\n"
    )
    code = """
import time
from bothways.cli.signals import CommandStopped, signals

with signals() as received:
    try:
        import torch
        time.sleep(30)
        print("went on")
    except CommandStopped:
        print(received.code)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert (done.stdout, done.stderr) == ("imported\n143\n", "")
