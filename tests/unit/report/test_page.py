"""The whole page: self-contained, balanced, escaped, and showing the numbers that the results files
hold.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.results import Record, Results
from bothways.report.comparison import compare
from bothways.report.markup import number
from bothways.report.material import gather
from bothways.report.page import build, write_report
from unit.report.material import EVIL, results, sts_record, write_results, write_run

VOID = {"meta", "br", "img", "input", "link", "hr"}
FEW = 200


class Reader(HTMLParser):
    """Collects elements and text, and checks that every tag that is opened is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag}: an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        place = self.open[-1] if self.open else ""
        self.text[place] = self.text.get(place, "") + data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def rows(page: str) -> dict[str, list[str]]:
    """Cells of the headline table by model."""
    body = page.split('<table class="scores sortable">')[1].split("</table>")[0].split("<tbody>")[1]
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", body, re.S):
        label = re.search(r'<bdi class="model">(.*?)</bdi>', row)
        assert label is not None
        found[html.unescape(label[1])] = re.findall(r"<td([^>]*)>([^<]*)", row)
    return found


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    folder = tmp_path_factory.mktemp("ten")
    sources = [str(path) for path in write_results(folder, 10, full=True)] + [str(write_run(folder))]
    return sources, build(sources, resamples=FEW)


def test_the_page_is_whole_and_asks_for_nothing(ten: tuple[list[str], str]) -> None:
    reader = read(ten[1])
    loading = {"src", "href", "srcset", "data", "action", "poster", "xlink:href", "background"}
    for tag, attributes in reader.elements:
        for name in loading & attributes.keys():
            assert (attributes[name] or "").startswith("#"), f"<{tag} {name}={attributes[name]}>"
        assert not any(name.startswith("on") for name in attributes), f"<{tag}> with a handler"
    assert {tag for tag, _ in reader.elements} & {"link", "iframe", "object", "embed", "img", "base"} == set()
    css = reader.text["style"]
    assert not re.search(r"url\(|@import|@font-face|expression", css)
    assert not re.search(r"https?:|fetch|XMLHttp|WebSocket|import\(", reader.text["script"])


def test_the_policy_allows_the_one_script_and_nothing_else(ten: tuple[list[str], str]) -> None:
    reader = read(ten[1])
    policy = next(a["content"] for t, a in reader.elements if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    scripts = [tag for tag, _ in reader.elements if tag == "script"]
    digest = base64.b64encode(hashlib.sha256(reader.text["script"].encode()).digest()).decode()
    assert len(scripts) == 1
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_ids_are_single_and_links_lead_somewhere(ten: tuple[list[str], str]) -> None:
    elements = read(ten[1]).elements
    ids = [a["id"] for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [str(a["href"])[1:] for t, a in elements if t == "a"]
    assert set(links) == set(ids)
    assert len(links) >= 8


def test_everything_is_named_for_screen_readers(ten: tuple[list[str], str]) -> None:
    page = ten[1]
    charts = re.findall(r'<svg [^>]*class="chart"[^>]*>(.{0,12})', page)
    assert len(charts) > 30
    assert all(start.startswith("<title>") for start in charts)
    assert page.count("<desc>") == len(charts)
    elements = read(page).elements
    assert all("scope" in attributes for tag, attributes in elements if tag == "th")
    assert next(a for t, a in elements if t == "html")["lang"] == "en"
    assert sum(tag == "caption" for tag, _ in elements) == sum(tag == "table" for tag, _ in elements)


def test_hostile_names_and_texts_stay_text(tmp_path: Path) -> None:
    records = {f"sts:{EVIL}": sts_record(0.3, 0, text=EVIL + '" onload="x'), "sts:'>&": sts_record(0.4, 1, data=EVIL)}
    for i in range(2):
        told = {
            "model": {"name": f"{EVIL}\u202e{i}", "class": EVIL},
            "command": EVIL,
            "versions": {EVIL: EVIL},
            EVIL: {EVIL: [EVIL]},
        }
        better = {task: sts_record(0.3 + 0.4 * i, i, text=EVIL) for task in records}
        Results({**records, **better}, told).save(tmp_path / f"{i}.json")
    page = build([tmp_path / "0.json", tmp_path / "1.json", write_run(tmp_path, name=EVIL.replace("/", ""))], resamples=FEW)
    assert "<script>window" not in page
    assert "<script>" in page
    assert page.count("<script") == 1
    assert "\u202e" not in page
    reader = read(page)
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert page.count("&lt;script&gt;window.hacked=1") > 20


def test_the_table_holds_the_results_numbers(ten: tuple[list[str], str]) -> None:
    sources, page = ten
    models = gather(sources).models
    comparison = compare(models, baseline=None, resamples=FEW, seed=0)
    table = rows(page)
    assert list(table) == [model.label for model in models]
    measures = [*comparison.averages, *comparison.tasks]
    for model in models:
        cells = table[model.label]
        assert len(cells) == len(measures)
        averaged = [
            model.records["sts:data/stsb/dev.jsonl"].metrics["spearman"],
            model.records["retrieval:data/news"].metrics["ndcg@10"],
        ]
        assert cells[0][1] == number(100 * float(np.mean(averaged)), 1)
        for measure, (attributes, shown) in list(zip(measures, cells))[1:]:
            record = model.records[measure.title]
            value = record.metrics[record.main]
            assert f'data-value="{value!r}"' in attributes
            assert shown == number(value * measure.scale, measure.decimals)
            assert abs(float(shown.replace("−", "-")) - value * measure.scale) <= 0.05
    best = max(models, key=lambda model: model.records["retrieval:data/news"].metrics["ndcg@10"]).label
    place = [measure.name for measure in measures].index("data/news")
    assert [label for label, cells in table.items() if "best" in cells[place][0]] == [best]
    lowest = min(models, key=lambda model: model.records["perplexity:wiki.txt"].metrics["perplexity"]).label
    place = [measure.title for measure in measures].index("perplexity:wiki.txt")
    assert [label for label, cells in table.items() if "best" in cells[place][0]] == [lowest], "lower perplexity is better"
    described = [i for i, measure in enumerate(measures) if measure.better == "neither"]
    assert len(described) == 2
    assert not any("best" in cells[i][0] for cells in table.values() for i in described)


def test_every_metric_is_there(ten: tuple[list[str], str]) -> None:
    for source in ten[0][:10]:
        for record in Results.load(source).records.values():
            for value in record.metrics.values():
                assert f'data-value="{value!r}">{number(value, 4)}<' in ten[1]


def test_the_first_sentence_compares_with_the_baseline(tmp_path: Path) -> None:
    paths = write_results(tmp_path, 3)
    page = build(paths, resamples=FEW)
    sentence = page.split('<p class="verdict">')[1].split("</p>")[0]
    assert sentence.startswith(
        "<bdi>base bidirectional + mntp + simcse</bdi> improves on the baseline <bdi>base bidirectional</bdi> by "
    )
    assert "more than chance" in sentence and "not the seed of training" in page.split('class="caveat">')[1]
    turned = build(paths, resamples=FEW, baseline="base bidirectional + mntp + simcse")
    assert "falls behind the baseline <bdi>base bidirectional + mntp + simcse</bdi> by " in turned
    assert EVIL not in page.split('<p class="verdict">')[1].split("</header>")[0]
    with pytest.raises(InputError, match="baseline 'nobody' is not one of the models"):
        build(paths, baseline="nobody")


def test_one_model_alone(tmp_path: Path) -> None:
    page = build(write_results(tmp_path, 1), resamples=FEW)
    reader = read(page)
    assert "Scores, with 95 % intervals" in page
    assert "The worst errors of" in page
    assert "bothways report FIRST.json SECOND.json" in page, "what differences would need"
    assert not any(tag == "section" and attributes.get("id") == "differences" for tag, attributes in reader.elements)


def test_what_was_not_measured_names_its_command(tmp_path: Path) -> None:
    run = write_run(tmp_path, dev=False)
    page = build([run])
    read(page)
    for words in ("--task sts:PAIRS", "Training curves"):
        assert words in page
    plain = Record("sts", "spearman", {"spearman": 0.5}, {}, "0" * 64, 1.0)
    for i in range(2):
        Results({"sts:x": plain}, {"model": {"name": f"m{i}"}}).save(tmp_path / f"{i}.json")
    page = build([tmp_path / "0.json", tmp_path / "1.json"], resamples=FEW)
    assert "No interval for x: the results hold no scores by item" in page
    assert "no interval</small>" in page
    for command in ("geometry:PAIRS", "layers:TEXTFILE", "--task prefix", "--task passkey", "RUN_FOLDER"):
        assert command in page.split("Not measured yet")[1]


def test_strange_details_are_survived(tmp_path: Path) -> None:
    for i, strange in enumerate(([], "x", {"a": {"edges": [1], "counts": ["b"]}}, [[1, 2], [3]], None, 1e999)):
        keys = ("items", "spectrum", "densities", "heatmap", "tokens", "triples", "accuracy", "lengths", "depths")
        details = dict.fromkeys(keys, None if strange == 1e999 else strange)
        Results({"sts:x": Record("sts", "spearman", {"spearman": 0.5}, details, "0" * 64, 1.0)}, {}).save(
            tmp_path / f"{i}.json"
        )
    page = build([tmp_path], resamples=FEW)
    read(page)
    assert "sts:x" in page and "50.0" in page, "the score itself is not shown"


def test_origin_tells_what_made_it(ten: tuple[list[str], str]) -> None:
    origin = ten[1].split('<section id="origin">')[1]
    model = gather(ten[0]).models[0]
    for record in model.records.values():
        assert record.data in origin
    for words in (
        "bothways evaluate org/base --seed 7",
        "bothways 0.1.0",
        f"{FEW} resamples, seed 0",
        "percentile interval of 95 %",
    ):
        assert words in origin


def test_report_appears_whole(tmp_path: Path) -> None:
    paths = write_results(tmp_path, 1)
    out = tmp_path / "deep" / "report.html"
    write_report(paths, out, resamples=FEW)
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    with pytest.raises(InputError):
        write_report([tmp_path / "none.json"], tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()


def test_a_page_of_ten_is_small_enough_to_send(ten: tuple[list[str], str]) -> None:
    assert len(ten[1].encode()) < 1_500_000
    assert results(0.5, 0).main
