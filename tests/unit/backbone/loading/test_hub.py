"""Hub repositories that are not plain models: only the files that are needed, and one line of error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError

from bothways.backbone.loading.hub import ADAPTER_FILES, adapter_snapshot, has_file, snapshot
from bothways.errors import SourceError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []

    def download(repository: str, **options: Any) -> str:
        found.append((repository, options))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return found


def test_pickles_are_left_out_of_an_encoder_and_not_of_an_adapter(asked: list[Any], tmp_path: Path) -> None:
    assert snapshot("org/encoder") == adapter_snapshot("org/adapter") == tmp_path
    (encoder, wanted), (adapter, allowed) = asked
    assert (encoder, adapter) == ("org/encoder", "org/adapter")
    assert "*.bin" in wanted["ignore_patterns"] and "*.safetensors" not in wanted["ignore_patterns"]
    assert allowed == {"allow_patterns": list(ADAPTER_FILES)} and "adapter_model.bin" in ADAPTER_FILES


def test_a_file_that_the_repository_lacks_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, name: str) -> str:
        if name != "there":
            raise EntryNotFoundError("404")
        return name

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert has_file("org/name", "there")
    assert not has_file("org/name", "missing")


def test_other_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("You are trying to access a gated repo.\nAsk first.")

    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(huggingface_hub, name, fail)
    for use in (lambda: snapshot("org/name"), lambda: adapter_snapshot("org/name"), lambda: has_file("org/name", "x")):
        with pytest.raises(SourceError, match="org/name: is gated on the hub") as caught:
            use()
        assert "\n" not in str(caught.value)
