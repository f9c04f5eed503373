"""What a report reads: names, joined files, folders, and one clear line for what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bothways.errors import InputError
from bothways.evaluation.results import Record, Results
from bothways.report.material import ReportedModel, gather
from bothways.report.result_columns import align, better, short_names
from unit.report.material import digest, results, retrieval_record, sts_record, write_results, write_run


def labels(*sources: object) -> list[str]:
    return [model.label for model in gather([str(source) for source in sources]).models]


def test_names_come_from_the_model_or_from_the_user(tmp_path: Path) -> None:
    one, two, three = write_results(tmp_path, 3)
    assert labels(one) == ["base bidirectional"]
    assert labels(three) == ["base bidirectional + mntp + simcse"]
    assert labels(f"mine={two}") == ["mine"]
    odd = tmp_path / "a=b.json"
    odd.write_bytes(one.read_bytes())
    assert labels(odd) == ["base bidirectional"], "a path that exists is a path"
    assert labels(one, odd) == ["base bidirectional", "base bidirectional (a=b)"]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "model0.json").write_bytes(one.read_bytes())
    assert labels(one, tmp_path / "x" / "model0.json") == ["base bidirectional", "base bidirectional (x/model0)"]


def test_files_about_one_model_are_one_model(tmp_path: Path) -> None:
    whole = results(0.5, 0, fingerprint="f1")
    tasks = list(whole.records)
    for i, names in enumerate((tasks[:1], tasks[1:])):
        Results({name: whole.records[name] for name in names}, whole.provenance).save(tmp_path / f"part{i}.json")
    results(0.9, 1, fingerprint="f2").save(tmp_path / "other.json")
    material = gather([tmp_path / "part0.json", tmp_path / "other.json", tmp_path / "part1.json"])
    assert [list(model.records) for model in material.models] == [tasks, list(results(0.9, 1).records)]
    assert [len(model.sources) for model in material.models] == [2, 1]
    twice = labels(tmp_path / "part0.json", tmp_path / "part0.json")
    assert twice == ["base bidirectional", f"base bidirectional ({tmp_path.name}/part0)"], "the same task twice is not joined"
    assert labels(f"m={tmp_path / 'part0.json'}", f"m={tmp_path / 'part1.json'}") == ["m"]
    with pytest.raises(InputError, match=r"part0\.json: model 'm' already has results of 'sts:data/stsb/dev\.jsonl'"):
        gather([f"m={tmp_path / 'part0.json'}", f"m={tmp_path / 'part0.json'}"])


def test_folders_hold_runs_and_results(tmp_path: Path) -> None:
    run = write_run(tmp_path, name="first")
    write_results(run, 2)
    (run / "config.json").write_text('{"model_type": "llama"}')
    (run / "broken.json").write_bytes(b"\xff\xfe")
    material = gather([run])
    assert [found.label for found in material.runs] == ["first"]
    assert len(material.models) == 2
    assert material.runs[0].lines[1] == {"stage": "mntp", "number": 0, "step": 10, "loss": 0.5, "tokens": 1000}
    (tmp_path / "second").mkdir()
    again = write_run(tmp_path / "second", name="first")
    assert [found.label for found in gather([run, again, f"named={again}"]).runs] == ["first", "first 2", "named"]
    with pytest.raises(InputError, match="model 'named' already has results"):
        gather([f"named={run}"])  # two models lie in it, and one name cannot be both
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"empty: contains neither metrics\.jsonl"):
        gather([empty])


def test_a_line_cut_short_is_passed_over_at_the_end_only(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    whole = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(whole + '{"stage": "simc')
    assert len(gather([run]).runs[0].lines) == len(whole.splitlines())
    (run / "metrics.jsonl").write_text(whole.splitlines()[0] + '\n{"stage": "simc\n' + whole)
    with pytest.raises(InputError, match=r"metrics\.jsonl, row 2: expected an object"):
        gather([run])
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="holds no step"):
        gather([run])
    (run / "metrics.jsonl").write_text(whole)
    (run / "recipe.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"recipe\.yaml: not valid YAML"):
        gather([run])


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{", "not a results file"), ('{"format": "else"}', "not a results file")],
)
def test_what_is_no_results_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "r.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=rf"r\.json: {message}"):
        gather([path])
    with pytest.raises(InputError, match="nothing to report"):
        gather([])


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


def test_material_helper_writes_what_evaluate_writes(tmp_path: Path) -> None:
    path = write_results(tmp_path, 1)[0]
    content = json.loads(path.read_text())
    assert content["format"] == "bothways-results-1"
    assert retrieval_record(0.5, 0).data == digest("news")
