"""What every request passes first: the key, and the limits on requests, bytes and time.

A refused request's body is read and dropped before the answer. Otherwise the connection would be
closed on bytes that nobody read, and many clients would report a broken connection and never see
the answer.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from bothways.serving.hosts import Hosts
from bothways.serving.refusal import Refusal
from bothways.serving.settings import KEY, ServeSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = ("/", "/health")
"""Paths that need no key and are not counted: a page without data, and the answer to a probe."""
# Bytes and seconds of a refused body that are read and dropped.
_DROPPED, _PATIENCE = 64 * 2**20, 10.0


class Gate:
    """ASGI middleware.

    Args:
        app: the application behind it.
        settings: limits.
        hosts: names by which the server may be called. If None, all.
        key: what clients must send as `Authorization: Bearer KEY`. If None, nothing.
        retry_after: gives the seconds after which a refused client should try again.
        observe: gets (path, status, seconds) of every answer.
    """

    def __init__(
        self,
        app: App,
        *,
        settings: ServeSettings,
        hosts: Hosts | None = None,
        key: str | None,
        retry_after: Callable[[], int],
        observe: Callable[[str, int, float], None] = lambda path, status, seconds: None,
    ) -> None:
        self.app, self.settings, self.retry_after, self.observe = (
            app,
            settings,
            retry_after,
            observe,
        )
        self._hosts = hosts
        self._key = None if key is None else key.encode()
        self._requests = self._bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.monotonic()
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, noted)
        finally:
            self.observe(scope["path"], status, time.monotonic() - begun)

    async def _pass(self, scope: Message, receive: Receive, send: Send) -> None:
        stranger = self._stranger(scope)
        if stranger is not None:
            await _refuse(stranger, scope, receive, send)
            return
        if scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
            return
        self._requests += 1
        body = _Body(self, receive)
        scope.setdefault("state", {})["deadline"] = time.monotonic() + self.settings.timeout
        try:
            await self.app(scope, body.receive, send)
        finally:
            self._requests -= 1
            self._bytes -= body.read

    def _stranger(self, scope: Message) -> Refusal | None:
        """Refuse a request to another host's name (see `hosts`)."""
        host = dict(scope["headers"]).get(b"host")
        name = None if host is None else host.decode("latin-1")
        if self._hosts is None or name in self._hosts:
            return None
        return Refusal(
            403,
            f"the host {name[:100] if name else name!r} is not this server's; call it by its address, or start it with --allowed-host",
            code="host",
        )

    def _refusal(self, scope: Message) -> Refusal | None:
        """Decide by the head of a request."""
        headers = dict(scope["headers"])
        if self._key is not None and not self._knows(headers.get(b"authorization", b"")):
            return Refusal(
                401,
                f"the key is missing or wrong; send the value of the server's {KEY} as a bearer token",
            )
        if self._requests >= self.settings.max_requests:
            return Refusal(
                429,
                f"{self._requests} requests are being answered; try again later",
                code="busy",
                retry_after=self.retry_after(),
            )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.settings.max_bytes:
            return self.too_large()
        return None

    def _knows(self, authorization: bytes) -> bool:
        scheme, _, given = authorization.partition(b" ")
        # compare_digest takes as long for a wrong first letter as for a wrong last one
        return hmac.compare_digest(given.strip(), self._key or b"") and scheme.lower() == b"bearer"

    def too_large(self) -> Refusal:
        """Build the refusal of a body with too many bytes."""
        most = self.settings.max_bytes
        return Refusal(
            413,
            f"the body has more than {most} bytes, the most for one request; send it in parts",
            code="too_large",
        )

    def admit(self, count: int, read: int) -> None:
        """Count bytes of a body of which `read` were there before.

        Raises:
            Refusal: this body is too large, or all bodies together.
        """
        if read + count > self.settings.max_bytes:
            raise self.too_large()
        # Bodies are in memory until their requests are answered.
        if self._bytes + count > 16 * self.settings.max_bytes:
            raise Refusal(
                429,
                "the server is busy; try again later",
                code="busy",
                retry_after=self.retry_after(),
            )
        self._bytes += count


class _Body:
    """The body of one request, counted and timed while it arrives."""

    def __init__(self, gate: Gate, receive: Receive) -> None:
        self._gate, self._receive = gate, receive
        self._deadline = time.monotonic() + gate.settings.body_timeout
        self._complete = False
        self.read = 0

    async def receive(self) -> Message:
        """Return the next ASGI message of the request.

        Raises:
            Refusal: the body is too large, or does not arrive in time.
        """
        if self._complete:
            return await self._receive()  # waits until the client goes away
        try:
            message = await asyncio.wait_for(
                self._receive(), max(0.0, self._deadline - time.monotonic())
            )
        except asyncio.TimeoutError:
            raise Refusal(
                408,
                f"the body did not arrive within {self._gate.settings.body_timeout:g} seconds",
                code="body_timeout",
            ) from None
        count = len(message.get("body", b""))
        try:
            self._gate.admit(count, self.read)
        except Refusal:
            self._complete = not message.get("more_body", False)
            await _drop(self.receive_rest)
            raise
        self.read += count
        self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def receive_rest(self) -> Message:
        """Return the next message without counting it, for a body that is dropped."""
        if self._complete:
            return {"type": "http.request", "more_body": False}
        message = await self._receive()
        self._complete = not message.get("more_body", False)
        return message


async def _refuse(refusal: Refusal, scope: Message, receive: Receive, send: Send) -> None:
    """Answer without the application."""
    # A client that waits for "100 Continue" has not begun to send, and must not be asked to.
    if not any(name == b"expect" for name, _ in scope["headers"]):
        await _drop(receive)
    body = json.dumps(refusal.body()).encode()
    headers: Iterable[tuple[str, str]] = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        *(refusal.headers or {}).items(),
    ]
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def _drop(receive: Receive) -> None:
    """Read the rest of a body and forget it, within bounds."""

    async def read() -> None:
        dropped = 0
        while dropped < _DROPPED:
            message = await receive()
            dropped += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return

    try:
        await asyncio.wait_for(read(), _PATIENCE)
    except asyncio.TimeoutError:
        return
