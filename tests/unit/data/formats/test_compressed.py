"""Compressed files, and lines that only a line feed ends."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pytest

from bothways.data.formats.compressed import compression_of, iter_lines, plain_name
from bothways.data.rows import iter_rows
from bothways.errors import InputError, SourceError

TEXTS = ["one", "two\u2028still two", "three\x85\x0cstill three", "  four ", "x" * 300_000]


CONTENT = {
    "a.txt": "\n".join(TEXTS),
    "a.jsonl": "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS),
    "strings.jsonl": "\n".join(json.dumps(text) for text in TEXTS),
    "lines.json": "\n".join(json.dumps({"text": text}) for text in TEXTS),
    "list.json": json.dumps(TEXTS, indent=1),
    "objects.json": json.dumps([{"text": text} for text in TEXTS]),
    "a.csv": "id,text\n" + "\n".join(f'{i},"{text}"' for i, text in enumerate(TEXTS)),
    "a.tsv": "id\ttext\n" + "\n".join(f"{i}\t{text}" for i, text in enumerate(TEXTS)),
}


@pytest.mark.parametrize("name", ["a.txt.gz", "a.csv.gz", "a.jsonl.gz"])
def test_cut_gzip(tmp_path, name):
    """A download cut short is an error, not a shorter corpus."""
    content = CONTENT[name.removesuffix(".gz")].encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content)[:-12])
    with pytest.raises(InputError, match="broken gzip"):
        list(iter_rows(path))
    path.write_bytes(content)
    with pytest.raises(InputError, match="broken gzip"):
        list(iter_rows(path))


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", None)]
)
def test_only_a_line_feed_ends_a_line(tmp_path, suffix, pack):
    content = "\ufeffone\u2028still one\r\ntwo\x0c\x85\n\nthree".encode()
    path = tmp_path / f"A.TXT{suffix.upper()}"
    if pack is None:
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes(pack(content))
    assert list(iter_lines(path)) == [(1, "one\u2028still one\r\n"), (2, "two\x0c\x85\n"), (3, "\n"), (4, "three")]
    assert (plain_name(path.name), compression_of(path)) == ("a.txt", suffix or None)


def test_bytes_that_are_not_utf_8_are_named(tmp_path):
    for content, message in (
        (b"fine\nca\xe9\n", r"row 2: byte 0xe9 at position 3 is not UTF-8"),
        ("\ufefftext here".encode("utf-16-le"), "row 1: this is UTF-16"),
        ("text here".encode("utf-16-be"), "row 1: this is UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
    ):
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(InputError, match=message):
            list(iter_lines(tmp_path / "a.txt"))
    with pytest.raises(SourceError, match=r"none\.txt: cannot be opened: No such file"):
        list(iter_lines(tmp_path / "none.txt"))
