"""Suites: their members, data of one's own, what is missing said at once, and the mean."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from bothways.errors import InputError
from bothways.evaluation.devmetric import dev_metric
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.registry import make_task
from bothways.evaluation.tasks.suite import SUITES
from tiny import SENTENCES

STS7 = ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sick")


class Letters:
    """Vectors of letter counts."""

    def encode(self, texts: list[str]) -> list[list[float]]:
        return [[float(text.lower().count(letter)) for letter in "aeionst"] + [1.0] for text in texts]


def pairs(folder: Path, shift: int) -> None:
    folder.mkdir(parents=True)
    count = len(SENTENCES)
    rows = [
        {"sentence1": SENTENCES[n], "sentence2": SENTENCES[(n + shift) % count], "score": (3 * n + shift) % 5}
        for n in range(count)
    ]
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, name in enumerate(STS7, 1):
        pairs(tmp_path / "data" / name, number)
    return tmp_path / "data"


def test_a_suite_is_the_mean_of_its_tasks(data):
    task = f"suite:sts7?folder={data}"
    found = evaluate(Letters(), [task])[task]
    alone = [make_task(f"sts:{data / name}") for name in STS7]
    values = [evaluate(Letters(), [each])[each.name]["spearman"] for each in alone]
    assert found["average"] == pytest.approx(statistics.fmean(values))
    assert [found[name] for name in ("STS12", "STS16", "STSBenchmark", "SICK-R")] == [values[n] for n in (0, 4, 5, 6)]
    assert len(found) == 8


def test_everything_that_is_missing_is_named_in_one_line_before_anything_runs(data):
    (data / "sts15" / "test.jsonl").unlink()
    for name in ("sick", "sts15"):
        for file in (data / name).iterdir():
            file.unlink()
        (data / name).rmdir()
    (data / "stsb" / "test.jsonl").write_text("not json\n")
    with pytest.raises(InputError) as error:
        make_task(f"suite:sts7?folder={data}")
    told = str(error.value)
    assert "\n" not in told
    assert told.startswith("suite:sts7: 3 of 7 tasks have no data: STS15 (no sts15/); STSBenchmark (")
    assert "SICK-R (no sick/); add it to" in told and "missing=skip" in told


def test_what_is_missing_can_be_left_out(data, caplog):
    for file in (data / "sts15").iterdir():
        file.unlink()
    (data / "sts15").rmdir()
    task = make_task(f"suite:sts7?folder={data}&missing=skip")
    assert "left out, because there is no data: STS15 (no sts15/)" in caplog.text
    assert len(task.parts) == 6
    assert task.fingerprint != make_task(f"sts:{data / 'sts12'}").fingerprint
    with pytest.raises(InputError, match="7 of 7 tasks have no data"):
        make_task(f"suite:sts7?folder={data / 'sts12'}&missing=skip")


def test_damaged_data_is_not_left_out(data):
    for file in (data / "sts15").iterdir():
        file.write_text("{broken")
    with pytest.raises(
        InputError, match=r"missing=skip leaves out absent data, but some cannot be read: STS15 \(.*; correct it"
    ):
        make_task(f"suite:sts7?folder={data}&missing=skip")


def test_a_suite_is_a_dev_metric(data):
    metric = dev_metric(f"suite:sts7?folder={data}")
    assert metric(Letters()) == evaluate(Letters(), [f"suite:sts7?folder={data}"])[f"suite:sts7?folder={data}"]["average"]


def test_transfer_sets_have_sentevals_folds(tmp_path):
    for name in ("mr", "cr", "subj", "mpqa", "SST2", "trec"):
        folder = tmp_path / name
        folder.mkdir()
        rows = [{"text": f"{SENTENCES[n % len(SENTENCES)]} {n}", "label": n % 2} for n in range(24)]
        for split in ("train", "test"):
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    labeled = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "label": n % 2} for n in range(24)]
    for split in ("train", "test"):
        (tmp_path / "mrpc").mkdir(exist_ok=True)
        (tmp_path / "mrpc" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, labeled)))
    task = make_task(f"suite:sentevaltransfer?folder={tmp_path}")
    folds = {name: part.settings.get("folds") for name, part in task.parts.items()}
    assert folds == {"MR": 10, "CR": 10, "SUBJ": 10, "MPQA": 10, "SST2": None, "TREC": None, "MRPC": 10}
    assert task.settings["MRPC"]["task"] == "trained-pairs"


def test_members_are_those_of_mteb():
    mteb = pytest.importorskip("mteb")
    for name, theirs in (("nanobeir", "NanoBEIR"), ("beir15", "BEIR"), ("mteb-eng-v2", "MTEB(eng, v2)")):
        tasks = {task.metadata.name for task in mteb.get_benchmark(theirs).tasks}
        assert {member.hub for member in SUITES[name]()} == tasks, name
    theirs = [
        (task.metadata.name, task.metadata.dataset["path"], list(task.hf_subsets), list(task.eval_splits))
        for task in mteb.get_benchmark("MTEB(eng, v2)").tasks
    ]
    ours = [
        (member.hub, f"mteb/{member.folders[0]}", [member.subset or "default"], ["test"]) for member in SUITES["mteb-eng-v2"]()
    ]
    assert ours == theirs
    for member in SUITES["beir15"]():
        same = getattr(mteb.get_task(member.hub), "ignore_identical_ids", False)  # not of an aggregate, whose parts have none
        assert ("ignore_identical_ids=true" in str(member.local)) == bool(same), member.name
    # mteb lists no superseded task, but has it
    assert all(mteb.get_task(member.hub).metadata.name == member.hub for member in SUITES["sts7"]())


def test_the_stored_list_needs_no_mteb(tmp_path):
    """What lies in no folder is named, before mteb is asked for anything."""
    members = SUITES["mteb-eng-v2"]()
    assert len({member.name for member in members}) == 41
    with pytest.raises(InputError) as error:
        make_task(f"suite:mteb-eng-v2?folder={tmp_path}")
    told = str(error.value)
    assert told.startswith("suite:mteb-eng-v2: 41 of 41 tasks have no data: ArguAna (no arguana/); ") and "\n" not in told
    assert all(member.name in told for member in members)


def test_mtebs_own_tasks_run_on_folders_of_ones_own(tmp_path):
    pytest.importorskip("mteb")
    for number, name in enumerate(("sts12-sts", "STS13", "sts17-crosslingual-sts"), 1):
        pairs(tmp_path / name, number)
    file = tmp_path / "sts17-crosslingual-sts" / "test.jsonl"
    rows = [{**json.loads(line), "lang": "en-en"} for line in file.read_text().splitlines()]
    others = [{**row, "sentence1": "other", "score": 5 - row["score"], "lang": "ko-ko"} for row in rows]
    file.write_text("\n".join(map(json.dumps, [*others, *rows])))
    task = make_task(f"suite:mteb-eng-v2?folder={tmp_path}&missing=skip&prompts=e5")
    assert list(task.parts) == ["STS12", "STS13", "STS17"]
    assert task.settings["STS17"]["subsets"] == ["en-en"] and task.settings["STS12"]["prompts"] == "e5"
    task = make_task(f"suite:mteb-eng-v2?folder={tmp_path}&missing=skip")
    found = evaluate(Letters(), task)[task.name]
    pairs(tmp_path / "alone", 3)
    for member, name in (("STS12", "sts12-sts"), ("STS17", "alone")):
        alone = make_task(f"sts:{tmp_path / name}/test.jsonl")
        assert found[member] == pytest.approx(evaluate(Letters(), [alone])[alone.name]["spearman"], abs=1e-6)
    (tmp_path / "sts12-sts" / "test.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(InputError, match=r"some cannot be read: STS12 \(.*lacks the column 'sentence1'"):
        make_task(f"suite:mteb-eng-v2?folder={tmp_path}&missing=skip")


def test_without_network_and_cache_all_sets_are_named(monkeypatch):
    pytest.importorskip("mteb")
    from bothways.errors import SourceError
    from bothways.evaluation.mteb import hub_tasks

    def silent(task) -> None:
        raise SourceError(f"mteb:{task.metadata.name}: the hub did not answer")

    monkeypatch.setattr(hub_tasks, "_load", silent)
    with pytest.raises(InputError) as error:
        make_task("suite:nanobeir")
    told = str(error.value)
    assert told.count("the hub did not answer") == 13
    assert "suite:nanobeir?folder=DIR" in told and "missing=skip" not in told


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("suite:mteb", "suite:mteb does not exist; there are sts7, nanobeir"),
        ("suite", "write suite:NAME"),
        ("suite:sts7?folder=a&prompts=e5", "prompts and cache belong to data from the hub"),
        ("suite:mteb-eng-v2?folder=a&cache=b", "cache belongs to data from the hub"),
        ("suite:sentevaltransfer", r"MR \(only from a folder\)"),
        ("suite:sts7?missing=drop", "missing"),
    ],
)
def test_what_cannot_be_meant_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        make_task(spec)
