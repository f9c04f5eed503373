"""The command itself in a process of its own: what it refuses, how it drains, what a kill
leaves.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import uvicorn

import bothways as bw
from bothways.cli.app import main
from bothways.cli.verbs.serve import named
from bothways.errors import InputError
from bothways.serving.serve import Server, bind
from embedding_server import running
from tiny import SENTENCES, tiny_llama

COMMAND = [sys.executable, "-c", "from bothways.cli import main; main()", "serve"]
SOURCE = Path(bw.__file__).parents[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    bw.convert(str(tiny_llama(folder / "base")), dtype="float32").save(folder / "mine")
    return folder / "mine"


class Served:
    """A running command and its address."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *words, "--dtype", "float32"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        )
        assert self.process.stderr is not None
        self.said = ""
        for line in self.process.stderr:
            self.said += line
            if line.startswith("serving "):
                break
        else:
            pytest.fail(self.said)
        self.url = line.split(" at ")[1].split(";")[0]

    def ask(self, path: str, body: object = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer) if path != "/metrics" else {"text": answer.read().decode()}

    def end(self) -> tuple[int, str]:
        _, rest = self.process.communicate(timeout=60)
        return self.process.returncode, self.said + rest


@pytest.fixture
def start(saved):
    made = []

    def begin(*words: str, **environment: str) -> Served:
        made.append(Served(str(saved), "--port", "0", *words, **environment))
        return made[-1]

    yield begin
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def test_sigterm_lets_requests_finish_and_refuses_new_ones(start, saved):
    server = start("--batch-tokens", "256")
    texts = [f"{sentence} {i}" for i in range(180) for sentence in SENTENCES]
    found = []
    thread = threading.Thread(target=lambda: found.append(server.ask("/v1/embeddings", {"input": texts})))
    thread.start()
    while "bothways_waiting_texts 0.0" in server.ask("/metrics")["text"]:
        time.sleep(0.01)
    server.process.terminate()
    host, port = server.url.removeprefix("http://").split(":")
    deadline = time.monotonic() + 20
    while True:  # the listening socket closes within a tick
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except ConnectionRefusedError:
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not found, "the request ended before the test looked; give it more texts"
    thread.join()
    code, said = server.end()
    assert code == 128 + signal.SIGTERM
    assert said.endswith("stopping; 1 requests are being finished\ninterrupted\n")
    vectors = [item["embedding"] for item in found[0]["data"]]
    np.testing.assert_allclose(vectors, bw.load(saved, dtype="float32").encode(texts), rtol=0, atol=1e-5)


def test_a_kill_leaves_a_port_that_can_be_taken_again(start, saved):
    first = start()
    first.ask("/v1/embeddings", {"input": "a"})
    port = first.url.rsplit(":", 1)[1]
    with pytest.raises(InputError, match=f"--port {port}: is in use on 127.0.0.1"):
        bind("127.0.0.1", int(port))
    first.process.kill()
    first.end()
    with bind("127.0.0.1", int(port)) as taken:
        taken.listen()


def test_requests_that_do_not_end_are_given_up(saved):
    encoder = bw.load(saved, dtype="float32")
    with running({"mine": encoder}, drain=1) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
        while not server.server.server_state.tasks:
            time.sleep(0.01)
        server.server.should_exit = True
        client.settimeout(20)
        while client.recv(1000):
            pass


def test_hangups_stop_a_server_as_well():
    server = Server(uvicorn.Config(lambda: None))
    before = signal.signal(signal.SIGHUP, lambda number, frame: passed.append(number))
    passed: list[int] = []
    try:
        with server.capture_signals():
            signal.raise_signal(signal.SIGHUP)
            assert server.should_exit and not passed
        assert passed == [signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing-here", "--port", "0"], "nothing-here"),
        (["MODEL", "--host", "203.0.113.7"], "--host 203.0.113.7: is not an address of this machine"),
        (["MODEL", "--host", "no such name"], "--host no such name: is not a name or address"),
        (["MODEL", "--max-rows", "0"], "max_rows"),
        (["MODEL", "--int8-texts", "nothing.txt"], "nothing.txt"),
        (["MODEL", "MODEL"], "give another one as NAME=FOLDER"),
    ],
)
def test_wrong_commands_end_with_one_line(capsys, saved, words, sentence):
    with pytest.raises(SystemExit) as ended:
        main(["serve", *(str(saved) if word == "MODEL" else word for word in words)])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and sentence in said and said.count("\n") == 1


def test_a_port_in_use_is_one_line_before_the_model_is_read(capsys, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit) as ended:
            main(["serve", str(tmp_path), "--port", str(taken.getsockname()[1])])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "is in use on 127.0.0.1" in said and said.count("\n") == 1


def test_names():
    assert named(["runs/a", "b=runs/x=y", "org/c", "smollm2-135m"]) == {
        "a": "runs/a",
        "b": "runs/x=y",
        "c": "org/c",
        "smollm2-135m": "smollm2-135m",
    }
    with pytest.raises(InputError, match="the name a is taken by runs/a; give another one as NAME=FOLDER"):
        named(["runs/a", "other/a"])
    for wrong in ("=runs/a", "a=", "/"):
        with pytest.raises(InputError, match="NAME=FOLDER"):
            named([wrong])


def test_a_missing_package_is_named(capsys, monkeypatch, saved):
    monkeypatch.setattr("bothways.cli.verbs.serve.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(saved)])
    assert ended.value.code == 2
    assert "pip install 'bothways[serve]'" in capsys.readouterr().err
