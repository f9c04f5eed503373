"""Evaluations that stop and go on: what is finished is kept, and what does not belong together is
not mixed.
"""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from bothways.errors import InputError, OutputError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.results import Results
from bothways.evaluation.task import Score, Task


class Toy:
    """An encoder told apart by one number."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def encode(self, texts):
        return np.zeros((len(texts), 1))


class Counted(Task):
    """Measures how often it has been run, and may stop the run as a person would."""

    kind = "counted"
    main = "runs"

    def __init__(self, name: str, *, data: str = "0", stop: bool = False, **settings: object) -> None:
        self.name, self.fingerprint, self.stop, self.settings = name, data, stop, settings
        self.runs = 0

    @classmethod
    def from_argument(cls, argument):
        raise NotImplementedError

    def run(self, encoder, options):
        if self.stop:
            raise KeyboardInterrupt
        self.runs += 1
        return Score({"runs": float(self.runs)}, {"seed": options.seed})


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results.json"


def test_each_finished_task_is_on_the_disk(out):
    with pytest.raises(KeyboardInterrupt):
        evaluate(Toy(), [Counted("a"), Counted("b", stop=True), Counted("c")], out=out)
    stopped = Results.load(out)
    assert list(stopped) == ["a"]
    assert stopped.provenance["pending"] == ["b", "c"]
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_a_second_run_measures_only_what_is_missing(out, caplog):
    tasks = [Counted("a", k=[1, 2]), Counted("b"), Counted("c")]
    with pytest.raises(KeyboardInterrupt):
        evaluate(Toy(), [tasks[0], Counted("b", stop=True), tasks[2]], out=out, seed=5)
    with caplog.at_level(logging.INFO, "bothways"):
        results = evaluate(Toy(), tasks, out=out, resume=True, seed=5)
    assert [task.runs for task in tasks] == [1, 1, 1]
    assert [record.getMessage() for record in caplog.records] == [f"a: finished earlier, taken from {out}"]
    assert list(results) == ["a", "b", "c"]
    assert Results.load(out) == results
    assert results.provenance["pending"] == []
    (earlier,) = results.provenance["earlier"]
    assert earlier["tasks"] == ["a"]
    assert earlier.keys() == {"date", "command", "versions", "tasks"}
    whole = evaluate(Toy(), [Counted("a", k=[1, 2]), Counted("b"), Counted("c")], seed=5)
    assert {name: record.metrics for name, record in whole.records.items()} == {
        n: r.metrics for n, r in results.records.items()
    }


def test_tasks_beyond_those_asked_for_stay(out):
    evaluate(Toy(), [Counted("a"), Counted("b")], out=out)
    results = evaluate(Toy(), [Counted("c"), Counted("b")], out=out, resume=True)
    assert list(results) == list(Results.load(out)) == ["c", "b", "a"]


def test_without_resume_the_file_starts_anew(out):
    evaluate(Toy(), [Counted("a")], out=out)
    evaluate(Toy(1), [Counted("b")], out=out)
    assert list(Results.load(out)) == ["b"]


def test_resume_without_a_file_yet_is_a_first_run(out):
    assert list(evaluate(Toy(), [Counted("a")], out=out, resume=True)) == ["a"]


@pytest.mark.parametrize(
    ("encoder", "task", "seed", "message"),
    [
        (Toy(1), Counted("a", k=1), 0, r"holds scores of another model \(other weights or settings\)"),
        (
            object(),
            Counted("a", k=1),
            0,
            r"another model \(class Toy there, object here\); use another file, or leave out resume",
        ),
        (Toy(), Counted("a", k=1), 1, "was measured with seed 0, not 1"),
        (Toy(), Counted("a", k=1, data="1"), 0, "'a' was measured on other data there; use another file"),
        (Toy(), Counted("a", k=2), 0, "'a' was measured there with k=1, not 2; use another file"),
        (Toy(), Counted("a"), 0, "'a' was measured there with k=1, not None"),
    ],
)
def test_nothing_is_mixed(out, encoder, task, seed, message):
    evaluate(Toy(), [Counted("a", k=1)], out=out)
    before = out.read_bytes()
    with pytest.raises(InputError, match=message) as caught:
        evaluate(encoder, [task], out=out, resume=True, seed=seed)
    assert "\n" not in str(caught.value)
    assert task.runs == 0
    assert out.read_bytes() == before


def test_files_that_cannot_be_continued_or_written(out, tmp_path):
    with pytest.raises(InputError, match="resume: needs a results file to continue"):
        evaluate(Toy(), [Counted("a")], resume=True)
    out.write_text("{}")
    with pytest.raises(InputError, match="not a results file"):
        evaluate(Toy(), [Counted("a")], out=out, resume=True)
    evaluate(Toy(), [Counted("a")], out=out)
    content = json.loads(out.read_text())
    del content["provenance"]["model"]["fingerprint"]
    out.write_text(json.dumps(content))
    with pytest.raises(InputError, match="it does not have a model fingerprint"):
        evaluate(Toy(), [Counted("a")], out=out, resume=True)
    task = Counted("a")
    with pytest.raises(InputError, match="is a folder; name a file"):
        evaluate(Toy(), [task], out=tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        evaluate(Toy(), [task], out=out / "below" / "r.json")
    assert task.runs == 0
