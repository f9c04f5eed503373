"""Splits in several files, and MTEB's folders: read as `datasets` and mteb read them; a missing
shard is refused by its name.
"""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from bothways.data.formats.shard_names import Shard, in_order, shard_of
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.text.readers import read_texts
from bothways.errors import InputError
from bothways.evaluation.registry import make_task
from bothways.mining.corpus import read_corpus

FORMATS = ["parquet", "jsonl", "csv", "jsonl.gz"]


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pandas.DataFrame(rows)
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True)


def split(folder: Path, rows: list[dict], name: str = "train", ending: str = "parquet", shards: int = 3) -> list[Path]:
    """Write rows as that many shards and return the files."""
    size = -(-len(rows) // shards)
    files = [folder / f"{name}-{n:05d}-of-{shards:05d}.{ending}" for n in range(shards)]
    for path, part in zip(files, (rows[start : start + size] for start in range(0, len(rows), size)), strict=True):
        write(path, part)
    return files


def pairs(count: int = 9) -> list[dict]:
    return [{"sentence1": f"a{n}", "sentence2": f"b{n}", "score": float(n)} for n in range(count)]


def labels(count: int = 12) -> list[dict]:
    return [{"text": f"t{n}", "label": n % 3} for n in range(count)]


@pytest.mark.parametrize(
    ("name", "shard"),
    [
        ("train-00000-of-00002.parquet", Shard("train", 0, 2, ".parquet")),
        ("train-00001-of-00002-4746b8785c874cc7.parquet", Shard("train", 1, 2, ".parquet")),
        ("c4-train.00000-of-01024.json.gz", Shard("c4-train", 0, 1024, ".json")),
        ("data-00003-of-00010.arrow", Shard("data", 3, 10, ".arrow")),
        ("test_1.csv", Shard("test", 1, None, ".csv")),
        ("test.csv", None),
        ("banking77.jsonl", None),
        ("wiki_00", None),
    ],
)
def test_names(name, shard):
    assert shard_of(Path(name)) == shard


def test_order_is_that_of_the_numbers():
    names = [f"train-{n}-of-12.jsonl" for n in range(12)]
    assert [path.name for path in in_order(Path(name) for name in sorted(names))] == names


@pytest.mark.parametrize("place", [".", "data"])
@pytest.mark.parametrize("ending", FORMATS)
def test_every_reader_reads_all_shards_in_order(tmp_path, ending, place):
    split(tmp_path / "sts" / place, pairs(), "test", ending)
    split(tmp_path / "sts" / place, pairs(3), "train", ending)
    task = make_task(f"sts:{tmp_path / 'sts'}")
    assert (list(task.pairs.first), list(task.pairs.gold)) == ([f"a{n}" for n in range(9)], list(range(9)))
    for name in ("train", "test"):
        split(tmp_path / "classes" / place, labels(), name, ending)
    assert make_task(f"classification:{tmp_path / 'classes'}?shots=2").pool == [f"t{n}" for n in range(12)] * 2
    (part,) = make_task(f"clustering:{tmp_path / 'classes'}").sets
    assert part.texts == tuple(f"t{n}" for n in range(12))
    rows = [{"text": f"t{n}", "query": f"q{n}", "positive": f"p{n}"} for n in range(7)]
    split(tmp_path / "rows" / place, rows, "train", ending)
    assert read_texts(tmp_path / "rows") == [f"t{n}" for n in range(7)]
    assert list(read_corpus(tmp_path / "rows", column="text")) == [f"t{n}" for n in range(7)]
    graded = [{"query": f"q{n // 4}", "candidate": f"c{n}", "label": n % 2} for n in range(12)]
    split(tmp_path / "ranked" / place, graded, "test", ending)
    assert len(make_task(f"reranking:{tmp_path / 'ranked'}").queries) == 3
    twos = [{"sentence1": f"a{n}", "sentence2": f"b{n}", "label": n % 2} for n in range(6)]
    split(tmp_path / "twos" / place, twos, "test", ending)
    assert make_task(f"pairs:{tmp_path / 'twos'}").first == [f"a{n}" for n in range(6)]
    answers = [{"query": f"q{n}", "positive": f"p{n}"} for n in range(7)]
    split(tmp_path / "answers" / place, answers, "train", ending)
    found = read_examples(tmp_path / "answers")
    assert [(row.query, row.task) for row in found] == [(f"q{n}", "train") for n in range(7)]
    split(tmp_path / "answers" / place, answers, "test", ending)
    assert len(make_task(f"retrieval:{tmp_path / 'answers'}").collection.corpus) == 7


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_local_folder_as_datasets_reads_it(tmp_path, ending):
    datasets = pytest.importorskip("datasets")
    rows = [{"text": f"t{n}", "label": n} for n in range(11)]
    folder = tmp_path / "folder"
    split(folder / "data", rows, "train", ending, shards=4)
    loaded = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert read_texts(folder) == list(loaded["text"]) == [row["text"] for row in rows]


def test_a_folder_of_a_split_and_a_saved_data_set(tmp_path):
    datasets = pytest.importorskip("datasets")
    for number, start in enumerate((0, 4, 8)):
        write(tmp_path / "hub" / "test" / f"{number:04d}.parquet", pairs(12)[start : start + 4])
    assert len(make_task(f"sts:{tmp_path / 'hub'}").pairs.gold) == 12
    whole = datasets.Dataset.from_list(pairs(12))
    datasets.DatasetDict({"test": whole, "train": whole}).save_to_disk(
        str(tmp_path / "saved"), num_shards={"test": 3, "train": 1}
    )
    assert make_task(f"sts:{tmp_path / 'saved'}").pairs.first == tuple(f"a{n}" for n in range(12))
    (tmp_path / "saved" / "test" / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(InputError, match=r"data-00001-of-00003\.arrow: no such file, which state\.json lists"):
        make_task(f"sts:{tmp_path / 'saved'}")


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_shard_is_named(tmp_path, ending, gone):
    answers = [{"query": f"q{n}", "positive": f"p{n}", **pairs()[n]} for n in range(9)]
    for name in ("train", "test"):
        split(tmp_path / "data", answers, name, ending)[gone].unlink()
    readers = (read_texts, read_examples, lambda folder: list(read_corpus(folder)), lambda folder: make_task(f"sts:{folder}"))
    for read, name in zip(readers, ("train", "train", "train", "test"), strict=True):
        with pytest.raises(InputError, match=rf"the shard {name}-0000{gone}-of-00003\.{ending} of 3 is missing; fetch it"):
            read(tmp_path)
    there = tmp_path / "data" / f"test-0000{(gone + 1) % 3}-of-00003.{ending}"
    assert len(make_task(f"sts:{there}").pairs.gold) == 3  # a file that is named is read alone


def test_what_is_no_missing_shard(tmp_path):
    split(tmp_path, [{"text": f"t{n}"} for n in range(4)], shards=2)
    for path in split(tmp_path, [{"text": "x"}, {"text": "y"}], "test", shards=2)[:1]:
        path.unlink()  # training does not read this split
    assert read_texts(tmp_path) == ["t0", "t1", "t2", "t3"]
    one = tmp_path / "from-one"
    for number in (1, 2):
        write(one / f"part-{number:05d}-of-00002.jsonl", [{"text": f"{number}"}])
    assert read_texts(one) == ["1", "2"]
    write(one / "part-00001-of-00003.jsonl", [{"text": "x"}])
    with pytest.raises(InputError, match="belongs to another number of shards than"):
        read_texts(one)


def test_a_row_of_two_shards_counts_once(tmp_path):
    row = {"query": "q", "positive": "p"}
    split(tmp_path, [row, {"query": "r", "positive": "s"}, row], shards=3)
    assert [each.query for each in read_examples(tmp_path)] == ["q", "r"]
