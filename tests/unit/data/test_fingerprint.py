"""Fingerprints differ where texts differ, and only there."""

import hashlib
import itertools
import json

import pytest

from bothways.data.fingerprint import describe_texts, fingerprint_file, fingerprint_texts
from bothways.errors import SourceError


def test_distinguishes_boundaries_order_and_count():
    lists = [[], [""], ["", ""], ["ab"], ["a", "b"], ["b", "a"], ["ab", ""], ["", "ab"], ["a\0", "b"], ["a", "\0b"], ["\ud800"]]
    prints = [fingerprint_texts(texts) for texts in lists]
    assert len(set(prints)) == len(lists)
    assert prints == [fingerprint_texts(iter(texts)) for texts in lists]


def test_equals_its_definition():
    raw = b"".join(len(text.encode()).to_bytes(8, "little") + text.encode() for text in ("a", "猫"))
    assert fingerprint_texts(["a", "猫"]) == hashlib.sha256(raw).hexdigest()


def test_file_is_plain_sha256(tmp_path):
    raw = bytes(range(256)) * 9000  # more than two chunks
    (tmp_path / "a.txt").write_bytes(raw)
    assert fingerprint_file(tmp_path / "a.txt") == hashlib.sha256(raw).hexdigest()
    with pytest.raises(SourceError, match="cannot be read"):
        fingerprint_file(tmp_path / "none")


def test_describe(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.txt").write_text("b")
    (tmp_path / "a.txt").write_text("a")
    digest = {name: hashlib.sha256(name.encode()).hexdigest() for name in "ab"}
    assert describe_texts(tmp_path / "a.txt") == {
        "source": str(tmp_path / "a.txt"),
        "kind": "file",
        "files": {"a.txt": digest["a"]},
    }
    folder = describe_texts(str(tmp_path), texts=["a", "b"])
    assert folder["files"] == {"a.txt": digest["a"], "sub/b.txt": digest["b"]}
    assert (folder["texts"], folder["sha256"]) == (2, fingerprint_texts(["a", "b"]))
    assert describe_texts("org/name:c/dev") == {"source": "org/name", "kind": "hub", "config": "c", "split": "dev"}
    assert describe_texts("python-stdlib").keys() == {"source", "kind", "python"}
    for one, other in itertools.pairwise([folder, describe_texts("org/name")]):
        assert json.loads(json.dumps(one)) == one != other
