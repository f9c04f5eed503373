"""The page at /: type a query, see the nearest texts: pasted ones, or those of the server's index.

It requests nothing but this API.

Style and script are part of the page. Its policy allows only this script, by its hash, and requests
to this server alone.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib.resources import files
from typing import NamedTuple


class Page(NamedTuple):
    """The page, and the headers that it is sent with."""

    html: str
    headers: dict[str, str]


@functools.cache
def page(own: bool = False) -> Page:
    """Read the page from the package. `own` shows a search of the server's documents."""
    style, script = _resource("style.css"), _resource("script.js")
    html = _resource("page.html").replace("/*style*/", style).replace("/*script*/", script)
    if own:
        html = html.replace("<body>", "<body data-own>")
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(
        html,
        {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        },
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _resource(name: str) -> str:
    return files("bothways.serving.assets").joinpath(name).read_text(encoding="utf-8")
