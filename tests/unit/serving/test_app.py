"""The other routes: scores, models, health, figures and the page; and int8 with given ranges."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import re

import numpy as np
import pytest

from bothways.similarity_names import SIMILARITIES
from embedding_server import running
from tiny import SENTENCES

QUERY = "the rain"


def cosines(encoder, queries, documents):
    return np.asarray(encoder.similarity(encoder.encode_query(queries), encoder.encode_document(documents)))


def test_similarity_is_the_cosine_with_the_instructions_of_both_roles(server, encoder):
    _, answer, _ = server.ask("/v1/similarity", {"queries": [QUERY, "a"], "documents": list(SENTENCES)})
    np.testing.assert_allclose(answer["scores"], cosines(encoder, [QUERY, "a"], SENTENCES), rtol=0, atol=1e-5)
    plain = np.asarray(encoder.similarity(encoder.encode([QUERY]), encoder.encode(SENTENCES)))
    assert np.abs(answer["scores"][0] - plain).max() > 1e-3


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_rerank_orders_by_similarity(server, encoder, path):
    documents = [text if i % 2 else {"text": text} for i, text in enumerate(SENTENCES)]
    _, answer, _ = server.ask(path, {"query": QUERY, "documents": documents, "top_n": 3, "return_documents": True})
    scores = cosines(encoder, [QUERY], SENTENCES)[0]
    order = [int(index) for index in np.argsort(-scores)[:3]]
    assert [result["index"] for result in answer["results"]] == order
    assert [result["document"]["text"] for result in answer["results"]] == [SENTENCES[index] for index in order]
    np.testing.assert_allclose([result["relevance_score"] for result in answer["results"]], scores[order], rtol=0, atol=1e-5)
    assert "document" not in server.ask(path, {"query": QUERY, "documents": ["a"]})[1]["results"][0]


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_scores_follow_the_model_or_the_request(server, encoder, kind):
    named = copy.copy(encoder)
    named.options = dataclasses.replace(encoder.options, similarity=kind)
    expected = cosines(named, [QUERY], SENTENCES)
    body = {"queries": [QUERY], "documents": list(SENTENCES)}
    with running({"named": named}) as other:
        assert other.ask("/v1/models")[1]["data"][0]["similarity"] == kind
        np.testing.assert_allclose(other.ask("/v1/similarity", body)[1]["scores"], expected, rtol=1e-6, atol=1e-5)
        _, plain, _ = other.ask("/v1/similarity", {**body, "similarity": "cosine"})
        np.testing.assert_allclose(plain["scores"], cosines(encoder, [QUERY], SENTENCES), rtol=0, atol=1e-5)
    _, ranked, _ = server.ask("/v1/rerank", {"query": QUERY, "documents": list(SENTENCES), "similarity": kind})
    order = np.argsort(-expected[0], kind="stable")
    assert [result["index"] for result in ranked["results"]] == order.tolist()
    assert [each["relevance_score"] for each in ranked["results"]] == pytest.approx(expected[0][order].tolist(), abs=1e-4)
    assert "similarity" in server.refused("/v1/similarity", {**body, "similarity": "jaccard"}, 422)


def test_wrong_rerank_requests(server):
    assert "documents" in server.refused("/v1/rerank", {"query": "a", "documents": []}, 422)
    assert "documents" in server.refused("/v1/rerank", {"query": "a", "documents": [3]}, 422)
    assert "top_n" in server.refused("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": 0}, 422)
    assert "unknown key 'top_k'; did you mean 'top_n'?" in server.refused(
        "/v1/rerank", {"query": "a", "documents": ["a"], "top_k": 1}, 422
    )


def test_documents_that_utf8_cannot_hold(server):
    body = b'{"query": "a", "documents": ["\\ud800"], "return_documents": true}'
    assert server.ask("/v1/rerank", body)[1]["results"][0]["document"]["text"] == "\ud800"


def test_health_and_models(server):
    assert server.ask("/health")[:2] == (200, {"status": "ok", "models": ["tiny"]})
    model = server.ask("/v1/models")[1]["data"][0]
    assert (model["id"], model["object"], model["dimension"], model["max_length"]) == ("tiny", "model", 32, 64)
    assert model["prompts"] == {"query": "Find: ", "title": "Title: "}


def figures(server) -> dict[str, float]:
    lines = [line for line in server.ask("/metrics")[1].splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_metrics_count(encoder):
    with running({"tiny": encoder}) as server:
        server.ask("/v1/embeddings", {"input": ["a", " ".join(SENTENCES)]})
        server.ask("/v1/embeddings", {"input": []})
        for path in ("/a", "/b", "/v1/models/x"):
            server.ask(path)
        found = figures(server)
    tokens = sum(len(row.ids) for row in encoder.tokenize(["a", " ".join(SENTENCES)]))
    assert found['bothways_texts_total{model="tiny"}'] == 2
    assert found['bothways_tokens_total{model="tiny"}'] == tokens
    assert found['bothways_truncated_texts_total{model="tiny"}'] == 1
    assert found['bothways_requests_total{path="/v1/embeddings",status="200"}'] == 1
    assert found['bothways_requests_total{path="/v1/embeddings",status="422"}'] == 1
    assert found['bothways_requests_total{path="other",status="404"}'] == 2
    assert found['bothways_requests_total{path="/v1/models/{name}",status="404"}'] == 1
    assert found["bothways_waiting_tokens"] == 0


def test_int8_uses_the_same_ranges_for_every_request(encoder):
    from sentence_transformers.util import quantize_embeddings

    texts = [f"{sentence} {number}" for number in range(4) for sentence in SENTENCES]
    with running({"tiny": encoder}, int8_texts=texts) as server:
        for options in ({}, {"truncate_dim": 16, "normalize_embeddings": True}):
            known = encoder.encode(texts, **options)
            expected = quantize_embeddings(encoder.encode(SENTENCES, **options), "int8", calibration_embeddings=known)
            body = {
                "precision": "int8",
                "dimensions": options.get("truncate_dim"),
                "normalize": options.get("normalize_embeddings"),
            }
            together = server.ask("/v1/embeddings", {"input": list(SENTENCES), **body})[1]["data"]
            alone = [server.ask("/v1/embeddings", {"input": text, **body})[1]["data"][0] for text in SENTENCES]
            for found in (together, alone):
                off = np.array([item["embedding"] for item in found]) - expected.astype(int)
                assert np.abs(off).max() <= 1  # a value at the edge of a step may fall on either side
                assert (off != 0).mean() < 0.01


def test_int8_without_ranges_is_refused(server):
    assert "--int8-texts" in server.refused("/v1/embeddings", {"input": ["a", "b"], "precision": "int8"}, 422)


def test_the_page_requests_nothing_from_elsewhere(server):
    status, html, headers = server.ask("/")
    assert status == 200
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?!["']?data:)|url\(|@import|https?://""", html)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    for tag in ("style", "script"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL).group(1)
        assert base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() in policy
    assert set(re.findall(r'\$\("([\w-]+)"\)', html)) <= set(re.findall(r'id="([\w-]+)"', html))


def test_openapi_describes_the_bodies(server):
    described = server.ask("/openapi.json")[1]
    assert {"/v1/embeddings", "/v1/rerank", "/v1/similarity", "/v1/models", "/health"} <= set(described["paths"])
    assert "prompt" in described["components"]["schemas"]["EmbeddingRequest"]["properties"]
    assert server.ask("/docs")[0] == 404
