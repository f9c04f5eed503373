"""/search: the results of the index, what is refused, and the page over the user's documents."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.serving.served_documents import Documents
from bothways.similarity import similarity_of
from embedding_server import running
from tiny import SENTENCES, tiny_llama

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
HOSTILE = "<img src=x onerror=\"document.title='hacked'\"> river"


@pytest.fixture(scope="module")
def place(encoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "t.txt").write_text("\n".join([*SENTENCES, HOSTILE]), encoding="utf-8")
    bw.index(folder / "t.txt", model=encoder, to=folder / "x").close()
    return folder / "x"


@pytest.fixture(scope="module")
def searched(encoder, place: Path):
    """A server with the index, and a second model that did not make it."""
    other = bw.convert(str(tiny_llama(place.parent / "other", seed=1)), dtype="float32")
    encoders = {"other": other, "tiny": encoder}
    with running(encoders, documents=Documents.of(bw.open_index(place), encoders)) as started:
        yield started


@pytest.mark.parametrize(
    "options", [{}, {"hybrid": True}, {"where": "row > 3"}, {"where": "text LIKE '%river%'", "hybrid": True}]
)
def test_answers_are_those_of_the_index(searched, encoder, place: Path, options) -> None:
    with bw.open_index(place, model=encoder) as opened:
        for query in ("a cat", SENTENCES[3], "water of the river " * 50):
            expected = opened.search(query, top=4, **options)
            status, answer, _ = searched.ask("/search", {"query": query, "top": 4, **options})
            assert status == 200 and answer["model"] == "tiny" and answer["usage"]["prompt_tokens"] > 0
            assert [(hit["file"], hit["row"], tuple(hit["span"]), hit["text"]) for hit in answer["results"]] == [
                (hit.file, hit.row, hit.span, hit.text) for hit in expected
            ]
            assert [hit["score"] for hit in answer["results"]] == pytest.approx([hit.score for hit in expected], abs=1e-5)


@pytest.mark.parametrize("kind", ["dot", "euclidean"])
def test_search_follows_the_similarity_of_the_index(encoder, place: Path, kind: str) -> None:
    made = place.parent / kind
    bw.index(place.parent / "t.txt", model=encoder, to=made, similarity=kind).close()
    texts = [*SENTENCES, HOSTILE]
    scores = similarity_of(encoder.encode_query(["a cat"]), encoder.encode_document(texts), kind)[0].tolist()
    with running({"tiny": encoder}, documents=Documents.of(bw.open_index(made), {"tiny": encoder})) as server:
        _, answer, _ = server.ask("/search", {"query": "a cat", "top": 4})
    best = sorted(scores, reverse=True)[:4]
    assert [hit["score"] for hit in answer["results"]] == pytest.approx(best, abs=1e-4)
    assert [hit["text"] for hit in answer["results"]] == [texts[scores.index(score)] for score in best]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "query: Field required"),
        ({"query": " "}, "query: must not be empty"),
        ({"query": "long " * 500, "truncate": False}, "query: is longer than the 64 tokens that tiny reads"),
        ({"query": "a", "top": 0}, "top: "),
        ({"query": "a", "top": 1001}, "top: "),
        ({"query": "a", "where": "1 = 1"}, "where: expected one of the columns"),
        ({"query": "a", "where": "row = 1; DROP TABLE rows"}, "where: cannot be read"),
        ({"query": "a", "model": "other"}, "model: the documents were indexed with tiny"),
        ({"query": "a", "hybird": True}, "did you mean 'hybrid'"),
    ],
)
def test_wrong_requests_are_refused_in_one_sentence(searched, body, message) -> None:
    assert message in searched.refused("/search", body, 422)


def test_an_index_that_breaks_is_the_servers_fault(encoder, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "x")
    with running({"tiny": encoder}, documents=Documents.of(bw.open_index(tmp_path / "x"), {"tiny": encoder})) as started:
        assert started.ask("/search", {"query": "a"})[0] == 200
        for file in (tmp_path / "x" / "rows.lance" / "data").iterdir():
            file.unlink()
        assert "cannot be read" in started.refused("/search", {"query": "a"}, 500)
        assert started.ask("/v1/embeddings", {"input": "a"})[0] == 200


def test_an_index_that_is_removed_is_missed_until_it_is_back(encoder, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "x")
    with running({"tiny": encoder}, documents=Documents.of(bw.open_index(tmp_path / "x"), {"tiny": encoder})) as started:
        before = started.ask("/search", {"query": "a"})
        (tmp_path / "x").rename(tmp_path / "away")
        assert "the index was removed; put it back" in started.refused("/search", {"query": "a"}, 503)
        (tmp_path / "away").rename(tmp_path / "x")
        assert started.ask("/search", {"query": "a"})[:2] == before[:2]


def test_without_an_index_there_is_no_search(server) -> None:
    server.refused("/search", {"query": "a"}, 404)


def test_an_index_of_another_model_is_refused(place: Path, searched, encoder) -> None:
    other = bw.convert(str(tiny_llama(place.parent / "third", seed=2)), dtype="float32")
    with bw.open_index(place) as opened, pytest.raises(InputError, match="third is another model"):
        Documents.of(opened, {"third": other})


def test_a_changed_index_is_followed(encoder, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one\ntwo", encoding="utf-8")
    bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / "x").close()
    with running({"tiny": encoder}, documents=Documents.of(bw.open_index(tmp_path / "x"), {"tiny": encoder})) as started:
        assert len(started.ask("/search", {"query": "one", "hybrid": True})[1]["results"]) == 2
        (tmp_path / "t.txt").write_text("one\ntwo\nthree", encoding="utf-8")
        bw.index(tmp_path / "t.txt", model=encoder, to=tmp_path / "x").close()
        found = started.ask("/search", {"query": "three", "hybrid": True})[1]["results"]
        assert len(found) == 3 and found[0]["text"] == "three"


def test_the_page_knows_whether_there_are_documents(searched, server) -> None:
    assert "<body data-own>" in searched.ask("/")[1] and "<body>" in server.ask("/")[1]


# Types a query into the page, as it came from the server, and writes the results into the title.
PROBE = """
<script>
addEventListener("load", () => {
  document.querySelector("#query").value = QUERY;
  document.querySelector("#form").requestSubmit();
  const wait = setInterval(() => {
    const items = [...document.querySelectorAll("#results li")];
    if (!items.length && !document.querySelector("#status.bad")) return;
    clearInterval(wait);
    const visible = (id) => document.querySelector(id).offsetParent !== null;
    document.body.dataset.found = JSON.stringify({
      results: items.map((item) => item.querySelector(".text").textContent),
      places: items.map((item) => item.querySelector(".place").textContent),
      status: document.querySelector("#status").textContent,
      textarea: visible("#texts"), where: visible("#where"), images: document.images.length,
    });
  }, 50);
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_the_page_searches_them_in_a_browser(searched, tmp_path: Path, monkeypatch) -> None:
    """The page runs with its own policy removed, because the probe is a script of its own."""
    import html as html_module
    import re

    from bothways.serving import app
    from bothways.serving.page import Page, page

    own = page(True)
    probed = own.html.replace("</body>", PROBE.replace("QUERY", json.dumps("a river")) + "</body>")
    monkeypatch.setattr(app, "page", lambda given: Page(probed, {}))
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=8000",
    ]
    done = subprocess.run([*command, "--dump-dom", searched.url + "/"], capture_output=True, text=True, timeout=120)
    match = re.search(r'data-found="([^"]*)"', done.stdout)
    assert match, done.stdout[-2000:]
    found = json.loads(html_module.unescape(match[1]))
    _, answer, _ = searched.ask("/search", {"query": "a river", "top": 20})
    assert found["results"] == [hit["text"] for hit in answer["results"]]
    assert found["places"][0].endswith(f"row {answer['results'][0]['row']}, 0–{len(answer['results'][0]['text'])}")
    assert HOSTILE in found["results"] and found["images"] == 0  # shown as text
    assert (found["textarea"], found["where"]) == (False, True) and "9 results" in found["status"]
