"""A real server of `bothways serve` in a thread, on a free port."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bothways.serving.serve import bind, hosts_of, make_server, url
from bothways.serving.settings import ServeSettings


class Running:
    """The address of a server, and the server itself."""

    def __init__(self, address: str, server: Any) -> None:
        self.url, self.server = address, server
        self.port = int(address.rsplit(":", 1)[1])

    def ask(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any, Mapping[str, str]]:
        """Send JSON (or bytes, or nothing); return status, parsed answer and headers."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, _parsed(answer.read()), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, _parsed(error.read()), error.headers

    def refused(self, path: str, body: Any, status: int, headers: Mapping[str, str] | None = None) -> str:
        """Send what must be refused with a status, in OpenAI's form; return the sentence."""
        found, answer, _ = self.ask(path, body, headers)
        assert found == status, answer
        assert set(answer) == {"error"} and set(answer["error"]) == {"message", "type", "param", "code"}
        assert "\n" not in answer["error"]["message"]
        return answer["error"]["message"]


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


@contextmanager
def running(
    encoders: Mapping[str, Any], *, int8_texts: Sequence[str] = (), documents: Any = None, **settings: Any
) -> Iterator[Running]:
    """Serve encoders inside the block."""
    taken = bind("127.0.0.1", 0)
    address = url(taken)
    chosen = ServeSettings(**settings)
    server = make_server(encoders, chosen, int8_texts, documents, hosts_of(taken, chosen))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline
            time.sleep(0.01)
        yield Running(address, server)
    finally:
        server.should_exit = True
        thread.join(120)  # an idle machine needs one second, a busy one many
        assert not thread.is_alive(), "".join(traceback.format_stack(sys._current_frames()[thread.ident or 0]))
