"""Texts from anything: column choice, what is skipped and said, and what is refused."""

import itertools
import logging

import pytest

from bothways.data.embedded import stdlib
from bothways.data.text.readers import iter_texts, read_texts
from bothways.errors import InputError
from files import write_jsonl


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": "x", "sentence1": "c", "content": "b", "text": "a"}, "text"),
        ({"id": "x", "content": "b", "sentence": "a"}, "sentence"),
        ({"label": "x", "sentence2": "b", "sentence1": "a"}, "sentence1"),
    ],
)
def test_column_is_chosen_by_preference_and_said(tmp_path, told, row, expected):
    path = write_jsonl(tmp_path / "a.jsonl", [row])
    assert read_texts(path) == ["a"]
    assert f"{path}: texts from column '{expected}'" in told.messages


def test_a_file_without_a_choice_says_nothing(tmp_path, told):
    """A folder of text files would fill the screen."""
    (tmp_path / "a.txt").write_text("one\ntwo\n", encoding="utf-8")
    write_jsonl(tmp_path / "b.jsonl", [{"text": "three"}])
    assert read_texts(tmp_path) == ["one", "two", "three"]
    assert told.messages == []


def test_column_is_chosen_once_a_file(tmp_path):
    """A better column in a later row must not change the meaning of the file half-way."""
    path = write_jsonl(tmp_path / "a.jsonl", [{"content": "a"}, {"content": "b", "text": "not this"}])
    assert read_texts(path) == ["a", "b"]
    write_jsonl(path, [{"content": "a"}, {"text": "b"}])
    with pytest.raises(InputError, match=r"a\.jsonl, row 2: no column 'content'; the columns are: text"):
        read_texts(path)


def test_asked_column(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a", "title": "b"}])
    assert read_texts(path, column="title") == ["b"]
    with pytest.raises(InputError, match="row 1: no column 'body'; the columns are: text, title"):
        read_texts(path, column="body")
    with pytest.raises(InputError, match=r"no column for text, such as 'text'; name it with column=, one of: lead, n"):
        read_texts(write_jsonl(path, [{"lead": "a", "n": 1}]))


def test_parquet_columns(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"title": ["b"], "text": ["a"]}), path)
    assert read_texts(path) == ["a"]
    assert read_texts(path, column="title") == ["b"]
    with pytest.raises(InputError, match=r"a\.parquet: no column 'body'; the columns are: title, text"):
        read_texts(path, column="body")
    pq.write_table(pa.table({"text": ["a", None]}), path)
    with pytest.raises(InputError, match="row 2: column 'text' holds a null"):
        read_texts(path)


@pytest.mark.parametrize("value", [3.5, None, float("nan"), True, ["a"], {"a": "b"}])
def test_values_that_are_no_text(tmp_path, value):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a"}, {"text": value}])
    with pytest.raises(InputError, match=r"a\.jsonl, row 2: column 'text' holds a .*, not a text"):
        read_texts(path)


def test_empty_texts_are_skipped_and_counted(tmp_path, told):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in ("a", "", " \t\n", "\u3000", "b")])
    assert read_texts(path) == ["a", "b"]
    assert f"{path}: skipped 3 empty texts" in told.messages
    write_jsonl(path, [{"text": " "}])
    with pytest.raises(InputError, match=r"a\.jsonl: holds no text"):
        read_texts(path)


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", ""), ("a.jsonl", "\n"), ("a.json", "[]"), ("a.csv", "text\n"), ("b.csv", "")]
)
def test_files_without_texts(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="holds no text"):
        read_texts(tmp_path / name)


def test_lone_surrogates_become_replacement_characters(tmp_path, told):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine \\ud83d\\ude00"}\n{"text": "\\ud800 bad \\udc00\\udc01"}\n{"text": "\\ude00"}\n')
    assert read_texts(path) == ["fine 😀", "\ufffd bad \ufffd\ufffd", "\ufffd"]
    warnings = [record.getMessage() for record in told.records if record.levelno == logging.WARNING]
    assert warnings == [f"{path}: lone surrogates in 2 texts became U+FFFD, first in row 2"]


def test_texts_come_as_they_stand(tmp_path):
    texts = ["a\0b", "  padded\t", "ภาษาไทย", "👩‍👩‍👧", "e\u0301", "two\nlines"]
    assert read_texts(write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts])) == texts


def test_folder_in_name_order(tmp_path, told):
    for name, text in [("b.txt", "3"), ("a/z.txt", "2"), ("a/b/c.jsonl", '"1"'), ("README.txt", "no"), (".hidden.txt", "no")]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("SOURCE.md", "image.png", ".git/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no")
    assert read_texts(tmp_path) == ["1", "2", "3"]
    assert f"{tmp_path}: skipped .git/, .hidden.txt, README.txt, SOURCE.md, image.png" in told.messages
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file with texts in this folder"):
        read_texts(tmp_path / "empty")


def test_folder_with_a_file_that_holds_no_texts(tmp_path, told):
    """Passed over with a warning; a column asked for by name must be in every file; other errors
    stay errors.
    """
    (tmp_path / "a.tsv").write_text("1\tno header\n2\tat all\n")
    (tmp_path / "b.txt").write_text("text")
    assert read_texts(tmp_path) == ["text"]
    warnings = [record.getMessage() for record in told.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and warnings[0].startswith(f"{tmp_path / 'a.tsv'}, row 2: no column for text")
    with pytest.raises(InputError, match=r"a\.tsv, row 2: no column 'text'"):
        read_texts(tmp_path, column="text")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"b\.txt, row 1: byte 0xe9"):
        read_texts(tmp_path)
    (tmp_path / "b.txt").unlink()
    with pytest.raises(InputError, match="holds no text"):
        read_texts(tmp_path)


def test_limit_stops_reading(tmp_path):
    """Nothing behind the limit is touched: the row after it is broken."""
    path = tmp_path / "a.jsonl"
    path.write_text('"a"\n""\n"b"\n{broken')
    assert read_texts(path, limit=2) == ["a", "b"]
    assert list(itertools.islice(iter_texts(path), 2)) == ["a", "b"]
    with pytest.raises(InputError, match="row 4"):
        read_texts(path, limit=3)
    with pytest.raises(InputError, match="limit: 0 texts"):
        iter_texts(path, limit=0)


def test_embedded_texts():
    assert read_texts("python-stdlib", limit=5) == stdlib.training_texts()[:5]
    assert read_texts("python-stdlib", column="sentence", limit=5) == stdlib.training_sentences()[:5]
    with pytest.raises(InputError, match="its columns are text"):
        read_texts("python-stdlib", column="body")
