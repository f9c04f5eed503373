"""`bothways serve --share-base`: two adapters over one copy of their base, asked over HTTP at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.cli.app import main
from bothways.encoder.shared_base import load_over_one_base
from embedding_server import running
from tiny import SENTENCES, tiny_llama
from unit.encoder.test_shared_base import NEAR, adapter


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shared")
    base = tiny_llama(folder / "base")
    return {"one": adapter(base, folder / "one", 1), "two": adapter(base, folder / "two", 2, "last")}


def test_requests_for_both_at_once_get_the_vectors_of_their_own_adapter(places: dict[str, Path]) -> None:
    merged = {name: bw.load(place, dtype="float32", device="cpu") for name, place in places.items()}
    requests = [(name, [f"{text} {number}" for text in SENTENCES[:4]]) for number in range(12) for name in places]
    answers: dict[int, Any] = {}

    with running(load_over_one_base(places, dtype="float32", device="cpu")) as server:

        def ask(number: int) -> None:
            name, texts = requests[number]
            body = {"model": name, "input": texts, "input_type": "query"}
            answers[number] = server.ask("/v1/embeddings", body)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(requests))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert {model["id"] for model in server.ask("/v1/models")[1]["data"]} == set(places)
        assert "one, two" in server.refused("/v1/embeddings", {"model": "three", "input": "a"}, 404)
    apart = merged["one"].encode_query(SENTENCES) - merged["two"].encode_query(SENTENCES)
    assert np.abs(apart).max() > 1e-2
    for number, (name, texts) in enumerate(requests):
        status, body, _ = answers[number]
        assert status == 200, body
        found = np.array([item["embedding"] for item in body["data"]])
        np.testing.assert_allclose(found, merged[name].encode_query(texts), rtol=0, atol=NEAR)


def test_the_command_loads_the_base_once(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr("bothways.serving.serve.serve", lambda encoders, *_, **__: served.update(encoders))
    words = [f"{name}={place}" for name, place in places.items()]
    main(["serve", *words, "--share-base", "--port", "0", "--dtype", "float32"])
    assert list(served) == ["one", "two"]
    assert served["one"].backbone is served["two"].backbone


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["one", "--share-base", "--pooling", "mean"], "--pooling: does not work with --share-base; leave one of the two out"),
        (
            ["one", "--share-base", "--quantize", "int8"],
            "--quantize: does not work with --share-base; leave one of the two out",
        ),
        (["one", "base", "--share-base"], "is not an adapter that a stage kept (keep: adapter)"),
    ],
)
def test_what_cannot_share_is_one_line(places: dict[str, Path], capsys, words: list[str], sentence: str) -> None:
    paths = [str(places["one"].parent / word) if word in ("one", "base") else word for word in words]
    with pytest.raises(SystemExit) as ended:
        main(["serve", *paths, "--port", "0"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and sentence in said and said.count("\n") == 1
