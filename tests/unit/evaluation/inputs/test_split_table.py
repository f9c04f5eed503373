"""The table of a split: a file, shards, or a folder, wherever tools put them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bothways.errors import InputError, SourceError
from bothways.evaluation.inputs.split_table import has_split, open_split


def fill(folder: Path, *names: str) -> Path:
    """Files with one row that holds the file's name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text\n{name}\n" if ".csv" in name else f'{{"text": "{name}"}}\n')
    return folder


def names(folder: Path, split: str = "test") -> list[str]:
    return [row["text"] for _, row in open_split(folder, split).rows()]


def test_a_file_is_a_table_itself(tmp_path: Path) -> None:
    table = open_split(fill(tmp_path, "any.csv") / "any.csv", "dev")
    assert table.cells
    assert table.first() == (f"{tmp_path / 'any.csv'}, row 2", {"text": "any.csv"})


@pytest.mark.parametrize("place", ["", "data/", "default/"])
def test_shards_are_one_table_in_the_order_of_their_numbers(tmp_path: Path, place: str) -> None:
    shards = [f"{place}test-{number:05d}-of-00003.jsonl" for number in range(3)]
    fill(tmp_path, *shards[::-1], f"{place}train-00000-of-00001.jsonl")
    assert names(tmp_path) == shards
    assert not open_split(tmp_path, "test").cells
    assert open_split(tmp_path, "test").name.endswith("test-00000-of-00003.jsonl and 2 more")
    (tmp_path / shards[1]).unlink()
    with pytest.raises(InputError, match="00001"):
        open_split(tmp_path, "test")


def test_a_plain_file_comes_before_shards_and_shards_before_a_folder(tmp_path: Path) -> None:
    fill(tmp_path, "test/a.jsonl", "test/b.jsonl")
    assert names(tmp_path) == ["test/a.jsonl", "test/b.jsonl"]
    fill(tmp_path, "data/test-00000-of-00001.jsonl")
    assert names(tmp_path) == ["data/test-00000-of-00001.jsonl"]
    fill(tmp_path, "test.csv")
    assert names(tmp_path) == ["test.csv"]


def test_a_prefix_before_the_split_needs_a_mark(tmp_path: Path) -> None:
    fill(tmp_path, "c4-test-00000-of-00001.jsonl", "attest-00000-of-00001.jsonl")
    assert names(tmp_path) == ["c4-test-00000-of-00001.jsonl"]


def test_what_cannot_be_chosen_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "test.csv", "test.jsonl", "notes.md")
    with pytest.raises(InputError, match=r"has both test\.\w+ and test\.\w+; name the file itself"):
        open_split(tmp_path, "test")
    assert has_split(tmp_path, "test") and not has_split(tmp_path, "dev")
    with pytest.raises(InputError, match=r"no dev\.jsonl or dev in another format; .* the files are: notes\.md, test\.csv"):
        open_split(tmp_path, "dev")
    with pytest.raises(SourceError, match="no such file or folder"):
        open_split(tmp_path / "none", "test")
    (tmp_path / "test.csv").unlink()
    (tmp_path / "test.jsonl").write_text("")
    with pytest.raises(InputError, match=r"test\.jsonl is empty"):
        open_split(tmp_path, "test").first()
