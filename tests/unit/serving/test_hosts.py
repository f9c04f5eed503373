"""Host headers: a page that points its own name at this machine cannot read answers."""

from __future__ import annotations

import http.client

import pytest

from bothways.errors import InputError
from bothways.serving.hosts import Hosts
from embedding_server import running

OWN = ["localhost", "localhost:8000", "LOCALHOST.", "127.0.0.1:8000", "127.8.9.1", "[::1]:8000", "[::1]"]
STRANGE = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "10.0.0.1",
    "",
    "[::2]",
    "0.0.0.0",
]


@pytest.mark.parametrize("bound", ["127.0.0.1", "::1"])
def test_on_a_loopback_address_only_this_machine_is_a_name(bound: str) -> None:
    assert [host for host in OWN if host not in Hosts(bound)] == []
    assert [host for host in STRANGE if host in Hosts(bound)] == []
    assert None in Hosts(bound)  # HTTP/1.0, which no browser speaks
    with_name = Hosts(bound, ["Search.example.org"])
    assert "search.example.org:8000" in with_name and "example.org" not in with_name


def test_on_other_addresses_names_count_if_they_are_given() -> None:
    assert [host for host in [*OWN, *STRANGE] if host not in Hosts("0.0.0.0")] == []
    named = Hosts("10.0.0.1", ["search.example.org"])
    assert [host for host in ("10.0.0.1:8000", "search.example.org", "localhost") if host not in named] == []
    assert "evil.example" not in named


@pytest.mark.parametrize("name", ["https://example.org", "a b", "*", "example.org/path", ""])
def test_what_is_not_a_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="must be a host name"):
        Hosts("127.0.0.1", [name])


def ask(port: int, path: str, host: str | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("GET", path, skip_host=True)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/metrics", "/openapi.json", "/nothing"])
def test_the_server_refuses_them_on_every_path(server, path: str) -> None:
    status, body = ask(server.port, path, "evil.example")
    assert status == 403 and b"is not this server's" in body and b"--allowed-host" in body
    assert ask(server.port, path, f"localhost:{server.port}")[0] in (200, 404)


def test_an_allowed_name_is_answered(encoder) -> None:
    with running({"tiny": encoder}, allowed_hosts=("search.example.org",)) as started:
        assert ask(started.port, "/health", "search.example.org")[0] == 200
        assert ask(started.port, "/health", "other.example.org")[0] == 403
