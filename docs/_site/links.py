"""Rewrite the links of a page that leave `docs/`, so that the site has no dead link.

The pages are written for a checkout: `../CHANGELOG.md` works in an editor and on a code host. In
the site, a link to a file that is a page becomes a link to this page. A link to any other file of
the repository becomes its path, because the site does not hold it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COPIED = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "findings/README.md": "findings.md",
    "findings": "findings.md",
    "README.md": "index.md",
}
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Return the text of a page with links that the site can follow (a hook of mkdocs)."""
    copied = {target: source for source, target in COPIED.items() if source.endswith(".md")}
    uri = page.file.src_uri
    home = (
        Path(copied[uri]).parent
        if uri in copied and uri != "index.md"
        else Path("docs", uri).parent
    )

    def rewritten(match: re.Match[str]) -> str:
        text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group(0)
        name, _, anchor = target.partition("#")
        path = os.path.normpath(home / name)
        if path in COPIED:
            to = COPIED[path]
        elif path.startswith("docs/"):
            to = path[len("docs/") :]
        else:
            return f"{text} (`{path}`)" if text.strip("`") != path else f"`{path}`"
        relative = os.path.relpath(to, Path(uri).parent)
        return f"[{text}]({relative}{'#' + anchor if anchor else ''})"

    return _LINK.sub(rewritten, markdown)
