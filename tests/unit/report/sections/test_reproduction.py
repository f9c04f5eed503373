"""The origin of the numbers: everything that a results file and a run say about themselves, as text."""

from __future__ import annotations

import html
import re

from bothways.evaluation.results import Record
from bothways.report.comparison import compare
from bothways.report.material import Material, ReportedModel, TrainingRun
from bothways.report.sections.reproduction import reproduction


def model(label: str, data: str) -> ReportedModel:
    told = {
        "model": {"name": "org/base", "stages": ["mntp", "simcse"]},
        "versions": {"bothways": "0.1.0", "torch": "9"},
        "command": "bothways evaluate <x>",
        "nothing": None,
    }
    return ReportedModel(
        label, {"sts:x": Record("sts", "spearman", {"spearman": 0.5}, {}, data, 1234.5)}, [(f"{label}.json", told)]
    )


def facts(text: str) -> dict[str, str]:
    return {html.unescape(k): html.unescape(v) for k, v in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text)}


def test_a_results_file_tells_its_model_versions_and_data() -> None:
    material = Material([model("one", "a" * 64)], [])
    body = reproduction(material, None).body
    found = facts(body.split("</details>")[0])
    assert found["model"] == "name org/base, stages mntp + simcse"
    assert found["versions"] == "bothways 0.1.0, torch 9"
    assert found["command"] == "bothways evaluate <x>"
    assert "nothing" not in found
    assert f'<td class="code">{"a" * 64}</td><td>1,234.5</td>' in body


def test_a_run_tells_its_recipe_stages_and_data() -> None:
    lines = [{"stage": "mntp", "step": 1200, "tokens": 34567}, {"stage": "simcse", "step": 5}]
    data = {"stages": [{"data": [{"source": "a.txt", "sha256": "f0"}]}, {"data": [{"source": "a.txt", "sha256": "f0"}]}, 3]}
    run = TrainingRun("run", "runs/run", lines, "name: llm2vec\nbase: org/<base>\nother: 1\n", data)
    body = reproduction(Material([], [run]), None).body
    found = facts(body)
    assert found["stages"] == "mntp: 1,200 steps, 34,567 tokens; simcse: 5 steps"
    assert (found["name"], found["base"]) == ("llm2vec", "org/<base>")
    assert found["training data"] == "a.txt: f0", "equal data once"
    assert "other" not in found and "other: 1" in body


def test_different_data_under_one_name_is_a_warning() -> None:
    for data, warned in (("b" * 64, True), ("a" * 64, False)):
        models = [model("one", "a" * 64), model("two", data)]
        body = reproduction(Material(models, []), compare(models, baseline=None, resamples=1000, seed=3)).body
        assert ("Different data under one name, so not compared: <code>sts:x</code>" in body) is warned
        assert facts(body)["bootstrap"] == "1,000 resamples, seed 3, percentile interval of 95 %"
