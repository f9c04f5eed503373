"""Rows without negatives get BM25's when they are read; the others are as they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from bothways.errors import InputError
from bothways.mining.candidates import Bm25Search
from bothways.training.recipe.data_config import DataConfig
from bothways.training.recipe.recipe_changes import changed_keys
from bothways.training.stage.bm25_negatives import MineConfig, fill
from bothways.training.stage.stage_data import read_data, read_stage_data
from unit.training.material import recipe, simcse

TEXTS = ("red kites fly over hills", "red kites nest in trees", "green boats sail over lakes", "old trees grow on hills")
ROWS = [
    Example("where do red kites fly", (TEXTS[0],)),
    Example("where do kites nest", (TEXTS[1],), ("given",)),
    Example("where do boats sail", (TEXTS[2],)),
    # as mining leaves a row for which nothing passed
    Example("old trees", (TEXTS[3],), (), (0.5,), ()),
]
#: BM25's ranking alone: the first rank too, and nothing drawn at random.
RANKED = {"negatives": 1, "window": (1, 100), "fill": "none"}


def test_no_row_stays_without_by_default() -> None:
    """Two rows that share no word: each has the other's answer as its negative, in spite of window
    and ranking.
    """
    pair = [Example("summit define", ("the highest point of a mountain",)), Example("cat", ("a small animal",))]
    assert [row.negatives for row in fill(pair, MineConfig())] == [pair[1].positives, pair[0].positives]
    # the same again in a class of their own: no text may be a negative
    alike = [replace(row, label="same") for row in pair]
    assert [row.negatives for row in fill(alike, MineConfig())] == [(), ()]
    assert MineConfig().perc is None and MineConfig().window == (2, 100)


def test_every_description_of_the_standard_library_has_seven_negatives() -> None:
    rows = read_examples("python-stdlib")
    made = fill(rows, MineConfig())
    assert len(rows) > 3000 and {len(row.negatives) for row in made} == {7}
    assert not any(set(row.negatives) & {row.query, *row.positives} for row in made)


def test_rows_without_negatives_get_the_best_scored_others() -> None:
    made = fill(ROWS, MineConfig(**RANKED))
    # the corpus is the rows' own texts; of those that share words with the query the own answer is
    # left out
    assert [row.negatives for row in made] == [(TEXTS[1],), ("given",), (), (TEXTS[1],)]
    assert [(row.query, row.positives, row.positive_scores) for row in made] == [
        (row.query, row.positives, row.positive_scores) for row in ROWS
    ]
    assert made[1] is ROWS[1]


def test_nothing_is_searched_where_all_have_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bothways.training.stage.bm25_negatives.mine_with", lambda *_, **__: pytest.fail("searched"))
    assert fill(ROWS[1:2], MineConfig()) == ROWS[1:2]


def test_only_rows_without_negatives_are_searched_for_and_what_the_others_know_holds(monkeypatch, caplog) -> None:
    """The last row asks what the first does, and knows another answer to it."""
    asked: list[int] = []
    ranked = Bm25Search.ranked
    monkeypatch.setattr(
        Bm25Search,
        "ranked",
        lambda self, requests, depth: (
            asked.extend(request.query for request in requests),
            ranked(self, requests, depth),
        )[1],
    )
    rows = [*ROWS, Example(ROWS[0].query, (TEXTS[1],), ("other",))]
    with caplog.at_level("INFO", logger="bothways"):
        made = fill(rows, MineConfig(**RANKED), "rows.jsonl")
    assert asked == [0, 2, 3]
    assert TEXTS[1] not in made[0].negatives and made[4] is rows[4]
    assert "rows.jsonl: BM25 added negatives to 1 of 3 rows that had none; 2 rows are still without" in caplog.text


def test_a_corpus_of_ones_own_and_that_of_a_beir_folder(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join((*TEXTS, "red red kites kites fly fly")))
    (first, *_) = fill(ROWS, MineConfig(**RANKED, corpus=str(corpus)))
    assert first.negatives == ("red red kites kites fly fly",)
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": str(n), "title": "", "text": text} for n, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "old trees"}) + "\n")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\t3\t1\n")
    data = DataConfig(source=(str(folder),), mine=MineConfig(**RANKED))
    (row,) = read_data(data, "examples").items
    assert (row.positives, row.negatives) == ((TEXTS[3],), (TEXTS[1],))


def test_rows_in_memory_are_filled_too(tmp_path: Path) -> None:
    stage = recipe(
        tmp_path,
        simcse(objective={"kind": "supervised"}, data={"source": "x.jsonl", "mine": RANKED}),
    ).stages[0]
    found = read_stage_data(stage, ROWS)
    assert [len(row.negatives) for row in found.items] == [1, 1, 0, 1]


def test_wrong_choices_and_what_no_recipe_of_before_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.mine: window: 1:3 has only 3 ranks for 7 negatives"):
        recipe(tmp_path, simcse(objective={"kind": "supervised"}, data={"source": "x", "mine": {"window": [1, 3]}}))
    with pytest.raises(InputError, match="mine: has no meaning for the objective contrastive"):
        recipe(tmp_path, simcse(data={"source": "x", "mine": {}}))
    made = recipe(tmp_path, simcse()).resolved()
    before = json.loads(json.dumps(made))
    for key in ("add_eos", "wrapper"):
        del before[key]
    del before["stages"][0]["data"]["mine"]
    assert changed_keys(before, made) == []
