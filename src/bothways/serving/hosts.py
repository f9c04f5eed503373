"""Names by which a server may be called: a defense against DNS rebinding.

A web page of a stranger can give its own name the address 127.0.0.1. The visitor's browser then
lets the page talk to a server on the visitor's machine, and read its answers. The requests still
carry the stranger's name in their Host header, and are refused by it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from bothways.errors import InputError

_PORT = re.compile(r":\d*$")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")


class Hosts:
    """The names of a server.

    Args:
        bound: the address that it listens at, for example "127.0.0.1".
        allowed: further names, for example ["search.example.org"].

    Raises:
        InputError: a further name is not a host name.
    """

    def __init__(self, bound: str, allowed: Sequence[str] = ()) -> None:
        self.every = not _is_loopback(bound) and not allowed
        self.names = {_plain(name) for name in allowed}
        for name in self.names:
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"--allowed-host {name}: must be a host name, for example search.example.org"
                )
        if not _is_loopback(bound):
            self.names.add(_plain(f"[{bound}]" if ":" in bound else bound))

    def __contains__(self, host: str | None) -> bool:
        """Tell if a Host header is one of the names. One that is missing is not from a browser."""
        if self.every or host is None:
            return True
        name = _plain(host)
        return name == "localhost" or name in self.names or _is_loopback(name.strip("[]"))


def _plain(host: str) -> str:
    """Return a host without port, in small letters, for example "[::1]" of "[::1]:8000"."""
    return _PORT.sub("", host.strip().lower()).rstrip(".")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
