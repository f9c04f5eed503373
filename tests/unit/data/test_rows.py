"""Bytes in, rows out: each format's accidents, and the row that a message names."""

import gzip
import json

import pytest

from bothways.data.rows import iter_rows
from bothways.errors import InputError, SourceError


def write(folder, name, content):
    raw = content if isinstance(content, bytes) else content.encode("utf-8")
    path = folder / name
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def column(path, name="text"):
    return [row[name] for _, row in iter_rows(path)]


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


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_format_gives_the_same_texts(tmp_path, name, suffix, ending, mark):
    """Compressed or not, with CRLF or a byte order mark; U+2028, U+0085, form feed and one huge
    word inside the texts.
    """
    path = write(tmp_path, name + suffix, mark + CONTENT[name].replace("\n", ending))
    assert column(path) == TEXTS


def test_row_numbers_are_file_lines(tmp_path):
    """Blank lines and quoted line breaks count, as in an editor."""
    assert list(iter_rows(write(tmp_path, "a.txt", "\n \none\n\ntwo"))) == [(3, {"text": "one"}), (5, {"text": "two"})]
    quoted = list(iter_rows(write(tmp_path, "a.csv", 'text,n\n"a\nb",1\n\n"c ""d""\r\ne",2\nf,3\n')))
    assert quoted == [
        (2, {"text": "a\nb", "n": "1"}),
        (5, {"text": 'c "d"\r\ne', "n": "2"}),
        (7, {"text": "f", "n": "3"}),
    ]


BROKEN = {
    "truncated.jsonl": ('{"text": "a"}\n\n{"text": "b', "row 3"),
    "cut.json": ('["a",\n "b', "row 2"),
    "pretty.json": ('{\n "text": "a"\n}', "row 1"),
    "number.jsonl": ('{"text": "a"}\n17\n', "row 2"),
    "list.jsonl": ('["a"]\n', "row 1"),
    "deep.jsonl": ('"a"\n' + "[" * 100_000 + "\n", "row 2"),
    "digits.jsonl": ('"a"\n{"n": ' + "9" * 5000 + "}\n", "row 2"),
    "latin.txt": (b"fine\n\ncaf\xe9\n", "row 3: byte 0xe9 at position 4"),
    "latin.csv": (b"text\nfine\ncaf\xe9\n", "row 3"),
    "latin.json": (b'["fine",\n"caf\xe9"]', "row 2"),
    "utf16.txt": ("one\ntwo".encode("utf-16"), "UTF-16"),
    "ragged.csv": ("text,n\na,1\nb\n", "row 3: 1 cells, but the header has 2"),
    "ragged.tsv": ("text\tn\na\t1\nb\t2\t3\n", "row 3: 3 cells"),
    "twice.csv": ("text,text\na,b\n", "row 1: the header names column 'text' twice"),
    "open.csv": ('text\n"a"\n"b\nc\n', "row 3: not valid CSV"),
    "spark.csv": (
        'text,n\n"He said \\"hi\\" twice",1\n',
        "row 2: not valid CSV (',' expected after '\"'); its quotes have a backslash",
    ),
    "gap.csv": ('text\n"a" b\n', "row 2: not valid CSV"),
    "x.parquet": ("PAR1 no", "not readable as parquet"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_name_file_and_row(tmp_path, name):
    content, where = BROKEN[name]
    path = write(tmp_path, name, content)
    with pytest.raises(InputError) as caught:
        list(iter_rows(path))
    message = str(caught.value)
    assert message.startswith(str(path)) and where in message and "\n" not in message


def test_wrong_names(tmp_path):
    with pytest.raises(InputError, match=r"a\.docx: unknown kind of file"):
        iter_rows(write(tmp_path, "a.docx", "x"))
    with pytest.raises(SourceError, match="no such file"):
        iter_rows(tmp_path / "none.txt")
