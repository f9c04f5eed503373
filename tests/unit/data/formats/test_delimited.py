"""Tables of text: quotes, separators and row numbers of the files that other tools write."""

import csv
import gzip
import io

import pytest

from bothways.data.formats.delimited import csv_rows, index_columns, tsv_rows
from bothways.data.rows import iter_rows
from bothways.errors import InputError


def write(folder, name, content):
    raw = content if isinstance(content, bytes) else content.encode("utf-8")
    path = folder / name
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def column(path, name="text"):
    return [row[name] for _, row in iter_rows(path)]


def test_tsv_quotes_are_characters(tmp_path):
    """A lone quote must not swallow the rows after it, as it does under CSV rules."""
    path = write(tmp_path, "a.tsv", 'text\tn\n"Alien\t1\n5" disk\t2\n')
    assert column(path) == ['"Alien', '5" disk']


def test_csv_with_nul(tmp_path):
    """NUL is a character like others, or (Python 3.10's csv module) a clear error; never a shorter
    text.
    """
    path = write(tmp_path, "a.csv", "text\na\0b\n")
    try:
        assert column(path) == ["a\0b"]
    except InputError as error:
        assert "row 2" in str(error)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("marked", [False, True])
def test_cells_are_those_of_the_csv_module(tmp_path, separator, marked):
    cells = [["a", "b c"], ['x "y"', "one;two\tthree|four"], ["", "line\nbreak"], ["plain", "5,5"]]
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=separator).writerows(cells)
    path = tmp_path / "a.csv"
    path.write_text((f"sep={separator}\n" if marked else "") + stream.getvalue(), newline="")
    found = list(csv_rows(path))
    assert [list(row.values()) for _, row in found] == cells[1:]
    first = 2 if marked else 1
    assert [number for number, _ in found] == [first + 1, first + 2, first + 4], "a cell of two lines moves the next row"


def test_row_numbers_of_pandas_are_left_out_if_another_column_is_there():
    assert index_columns(["", "Unnamed: 0", "Unnamed: 0_level_0", "__index_level_0__", "text"]) == {
        *("", "Unnamed: 0", "Unnamed: 0_level_0", "__index_level_0__")
    }
    assert index_columns(["Unnamed: 0"]) == set()


def test_faults_of_a_table_name_the_row(tmp_path):
    for name, content, message in (
        ("a.csv", 'a,b\n1,"x\n', 'row 2: not valid CSV .*write a quote in a cell as ""'),
        ("a.csv", 'a,b\n1,"say \\"x\\" now"\n', r"row 2: not valid CSV .*as Spark writes them"),
        ("a.csv", "a,a\n1,2\n", "row 1: the header names column 'a' twice"),
        ("a.tsv", "a\tb\n\n1\n", "row 3: 1 cells, but the header has 2"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=message):
            list((csv_rows if name.endswith("csv") else tsv_rows)(tmp_path / name))
