"""Configurations that README.md states, against `datasets.load_dataset` over the same folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bothways.data.dataset_card import stated_configs
from bothways.errors import InputError
from bothways.evaluation.inputs.beir_collection import read_beir
from bothways.evaluation.inputs.split_table import open_split
from bothways.evaluation.tasks.retrieval import Retrieval


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def collection(folder: Path, language: str, *, below: str = "{name}/test-0000{shard}-of-00002.jsonl") -> None:
    """Two documents, queries and judgements of a language, each in two shards."""
    for shard in (0, 1):
        key = f"{language}{shard}"
        parts = {
            "corpus": {"_id": f"d-{key}", "text": f"document {key}"},
            "queries": {"_id": f"q-{key}", "text": f"query {key}"},
            "qrels": {"query-id": f"q-{key}", "corpus-id": f"d-{key}", "score": 1},
        }
        for name, row in parts.items():
            write(folder / below.format(name=f"{language}-{name}", shard=shard), [row])


def card(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{text}---\n# A data set\n", encoding="utf-8")


@pytest.mark.parametrize("stated", [True, False])
def test_each_language_of_a_folder_is_a_collection(tmp_path: Path, stated: bool) -> None:
    for language in ("de", "en"):
        collection(tmp_path, language)
    if stated:
        names = [f"{language}-{part}" for language in ("de", "en") for part in ("corpus", "queries", "qrels")]
        card(
            tmp_path,
            "".join(f"- config_name: {n}\n  data_files:\n  - split: test\n    path: {n}/test-*\n" for n in names),
        )
    found = read_beir(tmp_path, "test", "en")
    assert found.corpus == {"d-en0": "document en0", "d-en1": "document en1"}
    assert found.queries == {"q-en0": "query en0", "q-en1": "query en1"}
    assert found.qrels == {"q-en0": {"d-en0": 1}, "q-en1": {"d-en1": 1}}
    assert Retrieval.from_argument(str(tmp_path / "de")).name.endswith("/de")
    with pytest.raises(InputError, match=r"holds several subsets; choose one as .*/de, there are: de, en"):
        Retrieval.from_argument(str(tmp_path))
    with pytest.raises(InputError, match=r"has no whole subset 'fr'.*there are: de, en"):
        read_beir(tmp_path, subset="fr")
    with pytest.raises(InputError, match=r"fr: no such folder"):
        Retrieval.from_argument(str(tmp_path / "fr"))


def test_the_only_language_needs_no_choice(tmp_path: Path) -> None:
    collection(tmp_path, "en")
    assert read_beir(tmp_path) == read_beir(tmp_path, subset="en")
    assert Retrieval.from_argument(str(tmp_path)).collection.corpus.keys() == {"d-en0", "d-en1"}


def test_patterns_are_read_as_load_dataset_reads_them(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "set"
    collection(folder, "en", below="raw/{name}.part{shard}.jsonl")
    write(folder / "sts" / "a.jsonl", [{"sentence1": "a", "sentence2": "b", "score": 1}])
    write(folder / "sts" / "b.jsonl", [{"sentence1": "c", "sentence2": "d", "score": 2}])
    card(
        folder,
        """- config_name: en-corpus
  data_files:
  - split: corpus
    path: raw/en-corpus.*
- config_name: en-queries
  data_files:
  - split: queries
    path: ["raw/en-queries.part0.jsonl", "raw/en-queries.part1.jsonl"]
- config_name: en-qrels
  data_files:
  - split: test
    path: "**/en-qrels.part[01].jsonl"
- config_name: default
  data_files:
  - split: test
    path: sts/*.jsonl
- config_name: list
  data_files: ["sts/a.jsonl", "sts/b.jsonl"]
- config_name: below
  data_dir: sts
  data_files: "*.jsonl"
""",
    )
    for name, splits in stated_configs(folder).items():
        expected = datasets.load_dataset(str(folder), name, cache_dir=str(tmp_path / "cache"))
        assert splits.keys() == expected.keys(), name
        for split, files in splits.items():
            rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
            assert rows == list(expected[split]), (name, split)
    assert read_beir(folder).qrels == {"q-en0": {"d-en0": 1}, "q-en1": {"d-en1": 1}}
    assert [row["score"] for _, row in open_split(folder, "test").rows()] == [1, 2]


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("- config_name: a\n  data_files: [READ*, gone-*.jsonl]\n", "no file fits the path 'gone-\\*.jsonl' of 'a'"),
        ("- config_name: a\n  data_files: ../*.jsonl\n", "must be a pattern inside the folder"),
        ("- config_name: a\n  data_files: /etc/pass*\n", "must be a pattern inside the folder"),
        ("- config_name: a\n  data_files:\n  - split: test\n", "must be patterns, or entries with split and path"),
        ("- config_name: [\n", "front matter that cannot be read"),
    ],
)
def test_what_a_card_states_wrongly_is_named(tmp_path: Path, stated: str, message: str) -> None:
    card(tmp_path, stated)
    with pytest.raises(InputError, match=message):
        stated_configs(tmp_path)


@pytest.mark.parametrize("text", ["no front matter", "---\nlicense: mit\n---\n", "---\nconfigs: 3\n---\n", ""])
def test_other_cards_state_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert stated_configs(tmp_path) == {}


def test_a_download_of_some_configurations_reads_them(tmp_path: Path) -> None:
    write(tmp_path / "en" / "test.jsonl", [{"a": 1}])
    card(
        tmp_path,
        "- config_name: en\n  data_files:\n  - split: test\n    path: en/test*\n  - split: train\n    path: en/train*\n"
        "- config_name: de\n  data_files: de/*\n",
    )
    assert stated_configs(tmp_path) == {"en": {"test": (tmp_path / "en" / "test.jsonl",)}}
