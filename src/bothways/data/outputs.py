"""Recognizes folders that bothways itself wrote, which are left out when a folder above is read.

Otherwise `bothways index .` would read its own index the second time.
"""

from __future__ import annotations

from pathlib import Path

from bothways.foreign import object_if_whole


def is_output(folder: Path) -> bool:
    """Tell if a folder is an index, the words of one, or holds encoded shards."""
    if folder.name.endswith(".faiss.bm25"):
        return True
    if (folder / "index.json").is_file() and (folder / "rows.lance").is_dir():
        return True
    manifest = folder / "manifest.json"
    return manifest.is_file() and object_if_whole(manifest).get("format") == "bothways-shards"
