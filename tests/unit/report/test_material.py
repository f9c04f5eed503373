"""What a report reads: names, joined files, folders, and one clear line for what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bothways.errors import InputError
from bothways.evaluation.results import Results
from bothways.report.material import gather
from unit.report.material import digest, results, retrieval_record, write_results, write_run


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


def test_material_helper_writes_what_evaluate_writes(tmp_path: Path) -> None:
    path = write_results(tmp_path, 1)[0]
    content = json.loads(path.read_text())
    assert content["format"] == "bothways-results-1"
    assert retrieval_record(0.5, 0).data == digest("news")
