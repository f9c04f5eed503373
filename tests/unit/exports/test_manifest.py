"""The manifest of an export is read back, and a damaged one is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.exports.manifest import add_to_manifest, files, read_manifest, write_manifest
from bothways.exports.reference import ReferenceRow


def test_a_damaged_export_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an export"):
        bw.verify_export(tmp_path)
    (tmp_path / "bothways-export.json").write_text("[]")
    with pytest.raises(InputError, match="damaged"):
        bw.verify_export(tmp_path)


def test_a_manifest_is_read_back_with_what_was_added(tmp_path: Path) -> None:
    write_manifest(tmp_path, "gguf", "q8_0", [ReferenceRow("short", "날씨", [0.5, 1.0], 0.9)], tokens=7)
    add_to_manifest(tmp_path, tokens=8, files=["a"])
    found = read_manifest(tmp_path)
    assert (found["target"], found["dtype"], found["bar"], found["tokens"], found["files"]) == ("gguf", "q8_0", 0.99, 8, ["a"])
    assert found["reference"] == [{"case": "short", "text": "날씨", "vector": [0.5, 1.0], "cost": 0.9, "prompt": ""}]


def test_files_are_listed_with_forward_slashes(tmp_path: Path) -> None:
    for name in ("b/c.txt", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert files(tmp_path) == ["a.txt", "b/c.txt"]


@pytest.mark.parametrize("content", ["{", "\udcff", "[" * 100_000])
def test_what_is_not_json_is_damaged(tmp_path: Path, content: str) -> None:
    (tmp_path / "bothways-export.json").write_text(content, errors="surrogateescape")
    with pytest.raises(InputError, match=r"bothways-export\.json: damaged \(\w+\); export the model again"):
        read_manifest(tmp_path)
