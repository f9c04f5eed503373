"""Short queries at concurrency 32: `bothways serve` against a plain sentence-transformers handler
behind FastAPI, in turns.

    .venv/bin/python benchmarks/serve.py [--seconds 8] [--rounds 2] [--dtype bfloat16] [--overload]
    .venv/bin/python benchmarks/serve.py --seconds 3 --rounds 1            short: one minute on a quiet machine

Both servers run the same folder with the same libraries. Compare ratios within one run. The ratio of
the servers' processor time for a request hardly depends on what else the machine does.

With --overload, ten times as many clients ask a server with a short queue, and every accepted answer
is compared with `encode` (in float32, so that 1e-5 can be asked for). Then wrk, if it is installed,
asks a server with the default queue over ten times as many connections. It ends with exit code 1 if
an answer is wrong, if a request is neither answered nor refused, or if memory grows by more than
200 MB.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import bothways as bw
from bothways.data.text.readers import read_texts

PEER = """
import sys
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1], device="cpu", model_kwargs={"dtype": sys.argv[3]})

class Asked(BaseModel):
    model: str
    input: str

app = FastAPI()

@app.post("/v1/embeddings")
def embeddings(asked: Asked):
    return {"data": [{"embedding": model.encode(asked.input).tolist()}]}

@app.get("/health")
def health():
    return {}

uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
"""
WRK = """
local bodies, place = {}, 0
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
wrk.method, wrk.headers["Content-Type"] = "POST", "application/json"
function request()
  place = place % #bodies + 1
  return wrk.format(nil, "/v1/embeddings", nil, bodies[place])
end
"""
OURS = "import sys; from bothways.cli import main; main(sys.argv[1:])"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--overload", action="store_true")
    options = parser.parse_args()
    queries = [" ".join(text.split()[:8]) for text in read_texts("python-stdlib", limit=400)]
    with tempfile.TemporaryDirectory() as folder:
        bw.convert("smollm2-135m", dtype="float32", max_length=512).save(folder, replace=True)
        if options.overload:
            options.dtype = "float32"
            overload(folder, queries, options)
        else:
            compare(folder, queries, options)


def compare(folder: str, queries: Sequence[str], options: argparse.Namespace) -> None:
    """Measure both servers in turns, one at a time."""
    rates: dict[str, list[float]] = {"bothways serve": [], "sentence-transformers + FastAPI": []}
    costs: dict[str, list[float]] = {name: [] for name in rates}
    for _ in range(options.rounds):
        for name in rates:
            with server(folder, options.dtype, ours=name.startswith("bothways")) as port:
                load(port, queries, options.clients, 2)
                before = used(port)
                found = load(port, queries, options.clients, options.seconds)
                costs[name].append((used(port) - before) / found.statuses[200])
            seconds = sorted(found.seconds)
            rates[name].append(len(seconds) / found.took)
            print(
                f"{name}: {rates[name][-1]:.1f} requests per second, {1e3 * costs[name][-1]:.0f} ms of processor time each, "
                f"p50 {1e3 * statistics.median(seconds):.0f} ms, p99 {1e3 * seconds[int(0.99 * len(seconds))]:.0f} ms, "
                f"{dict(found.statuses)}",
                flush=True,
            )
    ours, peer = (statistics.mean(each) for each in rates.values())
    cost, peers_cost = (statistics.mean(each) for each in costs.values())
    print(f"ratio of requests per second {ours / peer:.1f}, of processor time {peers_cost / cost:.1f}")


def overload(folder: str, queries: Sequence[str], options: argparse.Namespace) -> None:
    """Ask with ten times as many clients as the queue has room for; check every accepted answer."""
    room = options.clients
    with server(folder, options.dtype, "--queue-rows", str(room), ours=True) as port:
        load(port, queries, 2, 2)
        before = memory(port)
        # a refused client waits a little, or refusals would take all of the machine's time
        found = load(port, queries, 10 * room, options.seconds, pause=0.5)
        after = memory(port)
    expected = dict(zip(queries, bw.load(folder, dtype=options.dtype).encode(list(queries), normalize_embeddings=True)))
    off = [float(np.abs(vector / np.linalg.norm(vector) - expected[query]).max()) for query, vector in found.vectors]
    seconds = sorted(found.seconds)
    print(
        f"{10 * room} clients, room for {room}: {dict(found.statuses)}; accepted p50 {1e3 * statistics.median(seconds):.0f} ms, "
        f"p99 {1e3 * seconds[int(0.99 * len(seconds))]:.0f} ms; largest difference from encode {max(off):.1e} ({options.dtype}); "
        f"memory {before:.0f} MB before, {after:.0f} MB after"
    )
    if max(off) > 1e-5 or not set(found.statuses) <= {200, 429} or after - before > 200 or not wrk(folder, queries, options):
        sys.exit(1)


def wrk(folder: str, queries: Sequence[str], options: argparse.Namespace) -> bool:
    """Ask with wrk over ten times as many connections, and tell if all were answered in bounded memory."""
    if shutil.which("wrk") is None:
        print("wrk: is not installed (Debian: apt-get install wrk), so it is left out")
        return True
    with tempfile.TemporaryDirectory() as name, server(folder, options.dtype, ours=True) as port:
        bodies, script = Path(name, "bodies"), Path(name, "ask.lua")
        bodies.write_text("".join(json.dumps({"model": "tested", "input": query}) + "\n" for query in queries))
        script.write_text(WRK.replace("BODIES", str(bodies)))
        load(port, queries, 2, 2)
        before = memory(port)
        words = [
            "-t2",
            f"-c{10 * options.clients}",
            f"-d{options.seconds:.0f}s",
            "--timeout",
            "600s",
            "--latency",
            "-s",
            str(script),
        ]
        done = subprocess.run(["wrk", *words, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
        after = memory(port)
    wanted = ("50%", "99%", "Requests/sec", "Non-2xx", "Socket errors")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip().startswith(wanted)]
    print(f"wrk, {10 * options.clients} connections: {'; '.join(lines)}; memory {before:.0f} MB before, {after:.0f} MB after")
    return "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout and after - before <= 200


class Found:
    """What the clients saw."""

    def __init__(self) -> None:
        self.took = 0.0  # seconds until the last answer
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.vectors: list[tuple[str, np.ndarray]] = []


def load(port: int, queries: Sequence[str], clients: int, seconds: float, pause: float = 0.05) -> Found:
    """Ask from many threads, each over a connection of its own, as fast as answers come."""
    found = Found()
    start = time.monotonic()
    end = start + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        place = number
        while time.monotonic() < end:
            query = queries[place % len(queries)]
            place += clients
            begun = time.monotonic()
            body = json.dumps({"model": "tested", "input": query})
            connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            found.statuses[answer.status] += 1
            if answer.status == 200:
                found.seconds.append(time.monotonic() - begun)
                found.vectors.append((query, np.array(json.loads(text)["data"][0]["embedding"], dtype=np.float32)))
            else:
                time.sleep(pause)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.took = time.monotonic() - start
    return found


@contextmanager
def server(folder: str, dtype: str, *words: str, ours: bool) -> Iterator[int]:
    """Run one of the servers in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if ours:
        command = ["-c", OURS, "serve", f"tested={folder}", "--port", str(port), "--dtype", dtype, *words]
    else:
        command = ["-c", PEER, folder, str(port), dtype]
    process = subprocess.Popen(
        [sys.executable, *command], stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "ignore"}
    )
    SERVERS[port] = process.pid
    try:
        while True:
            assert process.poll() is None, "the server ended"
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(200)  # a busy machine needs a minute to end Python


SERVERS: dict[int, int] = {}


def used(port: int) -> float:
    """Return the processor time of a server so far, in seconds (Linux)."""
    fields = Path(f"/proc/{SERVERS[port]}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(port: int) -> float:
    """Return the resident memory of a server in MB (Linux)."""
    with open(f"/proc/{SERVERS[port]}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
