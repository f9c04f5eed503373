"""Connections that end when nothing happens on them, such as a head that stops.

uvicorn limits the time between two requests alone. Without these limits, clients that stop in the
middle hold connections, and the answers written to them, for ever.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD = 30.0
"""Seconds in which the head of a request must arrive."""
STUCK = 60.0
"""Seconds for which a client may read nothing of an answer."""


class Connection(H11Protocol):
    """One connection of a client."""

    _due = 0.0
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """Read what came. If it was no whole head, go on waiting, but no longer."""
        super().data_received(data)
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_at(
                self._due, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._due = self.loop.time() + HEAD
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Begin to wait for a client that reads slower than the server writes."""
        super().pause_writing()
        self._stuck = self.loop.call_later(STUCK, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop waiting for the client."""
        super().resume_writing()
        self._unstick()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget both waits."""
        self._unstick()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._due = self.loop.time() + HEAD
        self.timeout_keep_alive_task = self.loop.call_at(self._due, self.timeout_keep_alive_handler)

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
