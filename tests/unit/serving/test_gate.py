"""What is refused before a model runs: keys, limits, bodies that do not come, full queues, late
answers.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time

import numpy as np
import openai
import pytest

from bothways.serving.connection import Connection
from bothways.serving.settings import KEY
from embedding_server import running

EMBEDDINGS = "/v1/embeddings"


def test_the_key(encoder, monkeypatch):
    monkeypatch.setenv(KEY, "s3crét")
    with running({"tiny": encoder}) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3crét".encode().decode("latin-1")}):
            for path, body in ((EMBEDDINGS, {"input": "a"}), ("/v1/models", None), ("/metrics", None), ("/nothing", None)):
                assert KEY in server.refused(path, body, 401, headers)
        assert server.ask("/health")[0] == 200
        right = {"Authorization": "Bearer s3crét".encode().decode("latin-1")}
        assert server.ask(EMBEDDINGS, {"input": "a"}, right)[0] == 200
    monkeypatch.setenv(KEY, "plain")
    with running({"tiny": encoder}) as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="plain") as client:
        assert len(client.embeddings.create(model="tiny", input="a").data[0].embedding) == 32
        assert [model.id for model in client.models.list()] == ["tiny"]
        with pytest.raises(openai.AuthenticationError, match="missing or wrong"):
            client.with_options(api_key="other").embeddings.create(model="tiny", input="a")


def test_limits_of_a_request(encoder):
    with running({"tiny": encoder}, max_rows=3, max_tokens=40, max_bytes=2000) as server:
        assert server.ask(EMBEDDINGS, {"input": ["a", "b", "c"]})[0] == 200
        assert "4 texts, more than the 3" in server.refused(EMBEDDINGS, {"input": ["a"] * 4}, 413)
        assert "more than 40 tokens" in server.refused(EMBEDDINGS, {"input": ["a b c d e f g h i j k"] * 3}, 413)
        assert "more than 2000 bytes" in server.refused(EMBEDDINGS, {"input": "a" * 2000}, 413)
        assert "4 texts" in server.refused("/v1/rerank", {"query": "a", "documents": ["a"] * 3}, 413)
        assert "4 texts" in server.refused("/v1/similarity", {"queries": ["a"] * 2, "documents": ["a"] * 2}, 413)
        long = {"query": "a", "documents": ["a b c d e f g h i j k l m n o p q r s t u v w x y z"] * 2}
        assert "more than 40 tokens" in server.refused("/v1/rerank", long, 413)


def test_ten_megabytes(server):
    body = b'{"input": "' + b"a " * 5_000_000 + b'"}'
    assert "more than 8388608 bytes" in server.refused(EMBEDDINGS, body, 413)
    assert server.ask(EMBEDDINGS, {"input": "a"})[0] == 200


def chunked(server, parts):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", EMBEDDINGS, parts, {"Content-Type": "application/json"}, encode_chunked=True)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_bodies_without_a_length(encoder):
    with running({"tiny": encoder}, max_bytes=2000) as server:
        assert chunked(server, iter([b'{"input":', b' "a"}']))[0] == 200
        status, body = chunked(server, iter([b'{"input": "', *[b"a" * 900] * 50, b'"}']))
        assert status == 413 and b"more than 2000 bytes" in body


def half(server, text: bytes) -> bytes:
    """Send a part of a request, and read until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(text)
        found = b""
        while True:
            part = client.recv(65536)
            if not part:
                return found
            found += part


def test_half_sent_bodies(encoder):
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
    with running({"tiny": encoder}, body_timeout=0.3, max_requests=4) as server:
        begun = time.monotonic()
        answer = half(server, head + b'{"input": "a')
        assert answer.startswith(b"HTTP/1.1 408") and b"did not arrive within 0.3 seconds" in answer
        assert time.monotonic() - begun < 5
        for _ in range(10):  # clients that break off release their place
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
                client.sendall(head + b'{"in')
        deadline = time.monotonic() + 10
        while server.ask(EMBEDDINGS, {"input": "a"})[0] != 200:
            assert time.monotonic() < deadline


def test_half_sent_heads(encoder, monkeypatch):
    monkeypatch.setattr("bothways.serving.connection.HEAD", 0.3)
    with running({"tiny": encoder}) as server:
        assert half(server, b"") == b""
        assert half(server, b"POST /v1/embeddings HT") == b""
        assert half(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea").count(b"HTTP/1.1 200") == 1
        assert half(server, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_reader_that_stops_is_cut_off(encoder, monkeypatch):
    monkeypatch.setattr("bothways.serving.connection.STUCK", 0.5)
    lost = threading.Event()
    before = Connection.connection_lost
    monkeypatch.setattr(Connection, "connection_lost", lambda self, error: (before(self, error), lost.set()))
    body = b'{"encoding_format": "float", "input": [%s"a"]}' % (b'"a",' * 2000)
    head = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    with running({"tiny": encoder}) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(head + body)
        lost.clear()
        assert lost.wait(20)


def in_thread(server, body, found):
    thread = threading.Thread(target=lambda: found.append(server.ask(EMBEDDINGS, body)))
    thread.start()
    return thread


def waiting(server) -> float:
    text = server.ask("/metrics")[1]
    return float(next(line for line in text.splitlines() if line.startswith("bothways_waiting_texts ")).split()[1])


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_full_queues(slow, encoder):
    found = []
    with running({"tiny": slow}, queue_rows=2) as server:
        thread = in_thread(server, {"input": ["a", "b"]}, found)
        wait_until(lambda: waiting(server) == 2)
        assert "queue is full" in server.refused(EMBEDDINGS, {"input": "c"}, 429)
        assert 1 <= int(server.ask(EMBEDDINGS, {"input": "c"})[2]["Retry-After"]) <= 60
        slow.permits.release(5)
        thread.join()
        np.testing.assert_allclose(found[0][1]["data"][1]["embedding"], encoder.encode("b"), rtol=0, atol=1e-5)
        assert server.ask(EMBEDDINGS, {"input": "c"})[0] == 200


def test_too_many_requests(slow):
    found = []
    with running({"tiny": slow}, max_requests=1) as server:
        thread = in_thread(server, {"input": "a"}, found)
        wait_until(lambda: server.ask("/v1/models")[0] == 429)
        status, answer, headers = server.ask(EMBEDDINGS, {"input": "a"})
        assert status == 429 and int(headers["Retry-After"]) >= 1 and "being answered" in answer["error"]["message"]
        assert server.ask("/health")[0] == 200
        slow.permits.release(5)
        thread.join()
        assert found[0][0] == 200


def test_late_answers(slow):
    with running({"tiny": slow}, timeout=0.3, batch_tokens=1) as server:
        assert "longer than 0.3 seconds" in server.refused(EMBEDDINGS, {"input": ["a", "b", "c"]}, 504)
        wait_until(lambda: waiting(server) == 0)
        slow.permits.release(2)  # "a", which ran already, and the next request
        assert server.ask(EMBEDDINGS, {"input": "d"})[0] == 200


def test_clients_that_leave_release_their_texts(slow):
    body = b'{"input": ["a", "b", "c"]}'
    head = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    with running({"tiny": slow}, batch_tokens=1) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(head + body)
            wait_until(lambda: waiting(server) == 3)
        wait_until(lambda: waiting(server) == 0)
        slow.permits.release(2)
        assert server.ask(EMBEDDINGS, {"input": "d"})[0] == 200


def test_cors_is_off_unless_asked_for(encoder, server):
    origin = {"Origin": "https://example.org"}
    assert "access-control-allow-origin" not in server.ask(EMBEDDINGS, {"input": "a"}, origin)[2]
    with running({"tiny": encoder}, cors=("https://example.org",)) as other:
        assert other.ask(EMBEDDINGS, {"input": "a"}, origin)[2]["access-control-allow-origin"] == "https://example.org"
        assert "access-control-allow-origin" not in other.ask(EMBEDDINGS, {"input": "a"}, {"Origin": "https://other.org"})[2]
