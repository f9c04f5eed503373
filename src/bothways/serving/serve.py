"""Runs a server until a signal stops it: begun requests finish, new ones are refused."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import uvicorn

from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.serving.app import build_app
from bothways.serving.connection import Connection
from bothways.serving.hosts import Hosts
from bothways.serving.served_documents import Documents
from bothways.serving.settings import KEY, ServeSettings

log = logging.getLogger("bothways")


def bind(host: str, port: int) -> socket.socket:
    """Take an address, before models are loaded. Nobody can connect yet.

    Args:
        host: a name or address, for example "127.0.0.1".
        port: 0 takes a free one.

    Raises:
        InputError: the address is in use, or not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--host {host}: is not a name or address ({error}); give one, for example 127.0.0.1"
        ) from None
    taken = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # a port whose last connections are still closing is free
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except (OSError, OverflowError) as error:
        taken.close()
        raise InputError(_unusable(host, port, error)) from None
    return taken


def _unusable(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return (
            f"--port {port}: is in use on {host}; give another one, or stop the server that has it"
        )
    if number == errno.EADDRNOTAVAIL:
        return f"--host {host}: is not an address of this machine; give 127.0.0.1 for this machine alone, or 0.0.0.0 for all"
    if number == errno.EACCES:
        return f"--port {port}: needs more rights; give one from 1024 on"
    return f"--host {host} --port {port}: cannot be used ({error})"


def serve(
    encoders: Mapping[str, Encoder],
    settings: ServeSettings,
    taken: socket.socket,
    *,
    int8_texts: Sequence[str] = (),
    documents: Documents | None = None,
) -> None:
    """Answer requests until SIGINT, SIGTERM or SIGHUP comes.

    The signal is raised again after the last answer, so that the process ends as it would have.

    Args:
        encoders: the encoders by the names that clients give.
        settings: limits and defaults.
        taken: the address, see `bind`. It is closed.
        int8_texts: see `build_app`.
        documents: see `build_app`.

    Raises:
        InputError: another process has begun to listen at the address.
    """
    with taken:
        server = make_server(encoders, settings, int8_texts, documents, hosts_of(taken, settings))
        try:
            taken.listen(2048)
        except OSError as error:
            host, port = taken.getsockname()[:2]
            raise InputError(_unusable(host, port, error)) from None
        log.info("serving %s at %s; stop with Ctrl-C", ", ".join(encoders), url(taken))
        if documents is not None:
            log.info("%d rows of %s at /search", len(documents.index), documents.index.store.place)
        if os.environ.get(KEY):
            log.info("clients need the key of %s", KEY)
        elif not _is_loopback(taken):
            log.warning(
                "no key is set, so everybody who reaches this address can use it; set %s", KEY
            )
        server.run(sockets=[taken])


def hosts_of(taken: socket.socket, settings: ServeSettings) -> Hosts:
    """Return the names by which a server at this address may be called."""
    return Hosts(str(taken.getsockname()[0]), settings.allowed_hosts)


def make_server(
    encoders: Mapping[str, Encoder],
    settings: ServeSettings,
    int8_texts: Sequence[str] = (),
    documents: Documents | None = None,
    hosts: Hosts | None = None,
) -> Server:
    """Build the server, which listens to nothing yet. Arguments are those of `build_app`."""
    return Server(
        uvicorn.Config(
            build_app(encoders, settings, int8_texts=int8_texts, documents=documents, hosts=hosts),
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(settings.drain)),
        )
    )


def url(taken: socket.socket) -> str:
    """Write the address of a socket, for example "http://127.0.0.1:8000"."""
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(taken: socket.socket) -> bool:
    host = str(taken.getsockname()[0])
    return host.startswith("127.") or host == "::1"


class Server(uvicorn.Server):
    """uvicorn's server. It also stops for SIGHUP, and says that it is stopping."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals inside, and raise them again afterwards."""
        hangup = getattr(signal, "SIGHUP", None)  # Windows has no such signal
        with super().capture_signals():
            handled = (
                hangup is not None
                and threading.current_thread() is threading.main_thread()
                and signal.getsignal(hangup) != signal.SIG_IGN
            )
            before = (
                signal.signal(hangup, self.handle_exit) if handled and hangup is not None else None
            )
            try:
                yield
            finally:
                if handled and hangup is not None:
                    signal.signal(hangup, before)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for the requests that have begun."""
        log.info("stopping; %d requests are being finished", len(self.server_state.tasks))
        await super().shutdown(sockets)
