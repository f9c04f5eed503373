"""Tables as pandas, numpy, pyarrow and `datasets` write them give back what was written, or are
refused in one line.
"""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bothways.data.formats.cells import Elided, listed
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.rows import iter_rows
from bothways.data.text.readers import read_texts
from bothways.errors import InputError

QUERIES = ['how to, "bake"\nbread', "capital; of\tNorway"]
POSITIVES = [["Mix\nflour", 'a "q" b'], ["Oslo's", "Norway's capital"]]
NEGATIVES = [["Cars need oil", "It's raining"], []]
TABLE = pd.DataFrame({"query": QUERIES, "pos": POSITIVES, "neg": NEGATIVES})


def cast(kind):
    return TABLE.map(lambda cell: kind(cell) if isinstance(cell, list) else cell)


def array(cell):
    return np.array(cell, dtype=object)


def write_zstd(path):
    with pa.output_stream(str(path), compression="zstd") as stream:
        stream.write(TABLE.to_json(orient="records", lines=True).encode())


WRITERS = {
    "index.csv": TABLE.to_csv,
    "bom.csv": lambda path: TABLE.to_csv(path, index=False, sep=";", encoding="utf-8-sig"),
    "bars.csv": lambda path: cast(json.dumps).to_csv(path, index=False, sep="|"),
    "tabs.csv": lambda path: TABLE.to_csv(path, index=False, sep="\t"),
    "quoted.tsv": lambda path: TABLE.to_csv(path, index=False, sep="\t"),
    "all.tsv": lambda path: TABLE.to_csv(path, index=False, sep="\t", quoting=1),
    "numpy.csv": lambda path: cast(array).to_csv(path, index=False),
    "tuples.csv": lambda path: cast(tuple).to_csv(path, index=False),
    "json.csv": lambda path: cast(json.dumps).to_csv(path, index=False),
    "scalars.csv": lambda path: cast(lambda cell: [np.str_(text) for text in cell]).to_csv(path, index=False),
    **{
        f"{orient}{indent}.json": lambda path, orient=orient, indent=indent: TABLE.to_json(path, orient=orient, indent=indent)
        for orient in ("records", "columns", "index", "split", "table")
        for indent in (0, 2)
    },
    "lists.json": lambda path: path.write_text(json.dumps(TABLE.to_dict("list"))),
    "data.json": lambda path: path.write_text(json.dumps({"version": "1", "data": TABLE.to_dict("records")})),
    "bom.jsonl": lambda path: path.write_text("\ufeff" + TABLE.to_json(orient="records", lines=True)),
    "rows.ndjson": lambda path: TABLE.to_json(path, orient="records", lines=True),
    **{
        f"rows.jsonl.{kind}": lambda path: TABLE.to_json(path, orient="records", lines=True, compression="infer")
        for kind in ("gz", "bz2", "xz")
    },
    "rows.jsonl.zst": write_zstd,
    "index.parquet": lambda path: TABLE.set_index("query", drop=False).rename_axis("n").to_parquet(path),
    "numpy.parquet": lambda path: cast(array).to_parquet(path),
    "category.parquet": lambda path: TABLE.astype({"query": "category"}).to_parquet(path),
    "rows.feather": TABLE.to_feather,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_is_read(tmp_path, name):
    WRITERS[name](tmp_path / name)
    found = read_examples(tmp_path / name)
    assert [example.query for example in found] == QUERIES
    assert [list(example.positives) for example in found] == POSITIVES
    assert [list(example.negatives) for example in found] == NEGATIVES


def test_folders_of_datasets(tmp_path):
    """`save_to_disk` of a data set and of its splits, and a folder of the hub's cache."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_pandas(TABLE)
    whole.save_to_disk(str(tmp_path / "one"))
    (tmp_path / "one" / "cache-0123abcd.arrow").write_bytes(b"what map left")
    datasets.DatasetDict(train=whole, test=whole).save_to_disk(str(tmp_path / "two"))
    cached = tmp_path / "datasets--org--name"
    for folder in ("blobs", "refs", "snapshots/old/data", "snapshots/new/data"):
        (cached / folder).mkdir(parents=True)
    (cached / "refs" / "main").write_text("new")
    TABLE.to_parquet(cached / "blobs" / "0a")
    for revision in ("old", "new"):
        (cached / "snapshots" / revision / "data" / "train-00000-of-00001.parquet").symlink_to(cached / "blobs" / "0a")
    for folder in ("one", "two", cached.name):
        assert [example.query for example in read_examples(tmp_path / folder)] == QUERIES, folder
    assert len(read_texts(cached, column="query")) == 2  # of one revision


def test_a_tsv_keeps_quotes_that_nobody_wrote_around_cells(tmp_path):
    """GLUE and STS do not quote: a quote is a character there, even one at both ends of a cell."""
    path = tmp_path / "rows.tsv"
    path.write_text('sentence1\tsentence2\n"Quoted"\t5" disk\nsay "" twice\tx\n')
    assert [row for _, row in iter_rows(path)] == [
        {"sentence1": '"Quoted"', "sentence2": '5" disk'},
        {"sentence1": 'say "" twice', "sentence2": "x"},
    ]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "query,pos\nq,\"['a' 'b' ... 'c']\"\n", "row 2: column 'pos' holds an array with '...' for its middle"),
        ("a.csv", "query,pos\nq,\"['a', 'b\"\n", "row 2: column 'pos' holds .* not a whole list"),
        ("a.csv", "query,positive\n\"['a', 'b']\",p\n", "row 2: column 'query' holds a list, not a text"),
        (
            "a.jsonl",
            '{"query": "q", "pos": "[\'a\', \'b\']"}\n',
            "row 1: column 'pos' holds a list that is written as one string",
        ),
        ("a.json", "[[1, 2]]", "row 1: a row is an object or a string, this is a JSON list"),
        ("a.json", '{"query": {"x": "q"}, "pos": {"x": "p"}}', "orient='records'"),
        ("a.xlsx", "", "is a spreadsheet; save the sheet as CSV"),
        ("a.csv.zip", "", "is an archive; unpack it"),
        ("a.pkl", "", ".pkl files are not read; write the rows as"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "pointer of Git LFS"),
        ("a.csv", "query,pos\n".encode("utf-16-le").decode("latin-1"), "this is UTF-16"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_examples(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "cell, value",
    [
        ("['a', \"b's\"]", ["a", "b's"]),
        ("['a'\n 'b']", ["a", "b"]),
        ("[0.9 1.]", [0.9, 1.0]),
        ("[np.str_('a'), np.float64(0.5)]", ["a", 0.5]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("[list(['a', 'b']) list(['c'])]", [["a", "b"], ["c"]]),
        ("['a', None, nan]", ["a", None, None]),
        ("('a', 'b')", ["a", "b"]),
        ("('a',)", ["a"]),
        ("('a')", None),
        ("{'a'}", ["a"]),
        ("[{'text': 'x'} {'text': \"y's\"}]", [{"text": "x"}, {"text": "y's"}]),
        ("['caf\\xe9\\n']", ["café\n"]),
        ("[]", []),
        ("[1] Smith", None),
        ("[Deleted]", None),
        ("(Paris)", None),
        ("['a', 'b'] and ['c']", None),
        ("[" * 5000, None),
    ],
)
def test_lists_in_cells(cell, value):
    assert listed(cell) == value


def test_an_array_without_its_middle():
    with pytest.raises(Elided):
        listed(str(np.array([f"text {i}" for i in range(2000)], dtype=object)))
