"""Columns: one measurement on one data, under a short name."""

from __future__ import annotations

from pathlib import Path

from bothways.evaluation.results import Record
from bothways.report.material import ReportedModel
from bothways.report.result_columns import align, better, short_names
from unit.report.material import sts_record


def test_one_column_is_one_measurement_on_one_data(tmp_path: Path) -> None:
    def record(data: str, **options: object) -> Record:
        made = sts_record(0.5, 0, data=data)
        return Record(made.kind, made.main, made.metrics, made.details, made.data, 1.0, dict(options))

    first = ReportedModel("first", {"sts:here/dev.jsonl": record("a"), "sts:here/test.jsonl": record("b", aggregation="mean")})
    moved = {"sts:/mnt/x/dev.jsonl": record("a", prompt="Find: "), "sts:here/test.jsonl": record("b", aggregation="all")}
    second = ReportedModel("second", {**moved, "sts:changed/dev.jsonl": record("c"), "sts:again": record("a", prompt="")})
    columns = align([first, second])
    assert [sorted(column.records) for column in columns] == [
        ["first", "second"],
        ["first"],
        ["second"],
        ["second"],
        ["second"],
    ]
    assert columns[0].task == "sts:here/dev.jsonl"
    assert len({column.name for column in columns}) == len(columns)
    same_name = [ReportedModel(data, {"sts:x": record(data)}) for data in "ab"]
    assert [list(column.records) for column in align(same_name)] == [["a"], ["b"]]
    assert [column.scale for column in columns] == [100.0] * 5


def test_names_of_columns_are_short_and_distinct() -> None:
    assert short_names(["sts:../shared/data/stsb/dev.jsonl", "stdlib"], ["sts", "stdlib"], ["a", "b"]) == ["stsb/dev", "stdlib"]
    same = ["sts:a/x/dev.jsonl", "sts:b/x/dev.jsonl"]
    assert short_names(same, ["sts"] * 2, ["1" * 64, "2" * 64]) == ["a/x/dev", "b/x/dev"]
    assert short_names(["sts:x/dev.jsonl"] * 2, ["sts"] * 2, ["1" * 64, "2" * 64]) == ["x/dev [111111]", "x/dev [222222]"]
    both = short_names(["sts:x/dev.jsonl", "geometry:x/dev.jsonl"], ["sts", "geometry"], ["1" * 64] * 2)
    assert both == ["x/dev (sts)", "x/dev (geometry)"]
    assert short_names(["sts:x/dev.jsonl?aggregation=mean"], ["sts"], ["1"]) == ["x/dev aggregation=mean"]


def test_which_end_is_good_is_the_tasks_own_word() -> None:
    assert better("sts", "spearman") == better("retrieval", "ndcg@10") == "higher"
    assert better("perplexity", "perplexity") == "lower"
    assert better("geometry", "uniformity") == better("from the future", "accuracy") == "neither"
