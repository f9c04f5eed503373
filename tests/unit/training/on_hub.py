"""A stand-in for downloads from the hub: one repository, whose files are in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError


def on_hub(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path) -> None:
    """Let `name` be the only repository on the hub, with the files of a folder."""

    def check(repository: str) -> None:
        if repository != name:
            raise OSError(f"404 Repository Not Found: {repository}")

    def download(repository: str, file: str, **_: Any) -> str:
        check(repository)
        if not (folder / file).is_file():
            raise EntryNotFoundError(f"404 {file}")
        return str(folder / file)

    def snapshot(repository: str, **_: Any) -> str:
        check(repository)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
