"""/v1/embeddings: the vectors are those of `encode`, for OpenAI's own client and for plain
requests.
"""

from __future__ import annotations

import base64

import numpy as np
import openai
import pytest

from embedding_server import running
from tiny import SENTENCES

TEXTS = [*SENTENCES, "", "a", "x" * 50]
CLOSE = {"rtol": 0, "atol": 1e-5}


def embedded(server, **body):
    status, answer, _ = server.ask("/v1/embeddings", body)
    assert status == 200, answer
    assert [item["index"] for item in answer["data"]] == list(range(len(answer["data"])))
    return np.array([item["embedding"] for item in answer["data"]])


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}])
def test_openai_client_gets_the_vectors_of_encode(client, encoder, encoding):
    answer = client.embeddings.create(model="tiny", input=TEXTS, user="somebody", **encoding)
    np.testing.assert_allclose([item.embedding for item in answer.data], encoder.encode(TEXTS), **CLOSE)
    tokens = sum(len(row.ids) for row in encoder.tokenize(TEXTS))
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == ("tiny", tokens, tokens)


def test_one_text(client, encoder):
    answer = client.embeddings.create(model="tiny", input="a cat")
    np.testing.assert_allclose(answer.data[0].embedding, encoder.encode("a cat"), **CLOSE)


def test_base64_is_float32_bit_by_bit(server):
    plain = embedded(server, input=TEXTS)
    _, answer, _ = server.ask("/v1/embeddings", {"input": TEXTS, "encoding_format": "base64"})
    decoded = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in answer["data"]]
    assert np.array_equal(np.array(decoded, dtype=np.float64), plain)


def test_dimensions_are_cut_before_scaling(client, server, encoder):
    answer = client.embeddings.create(model="tiny", input=TEXTS, dimensions=8)
    np.testing.assert_allclose([item.embedding for item in answer.data], encoder.encode(TEXTS, truncate_dim=8), **CLOSE)
    unit = embedded(server, input=TEXTS, dimensions=8, normalize=True)
    np.testing.assert_allclose(unit, encoder.encode(TEXTS, truncate_dim=8, normalize_embeddings=True), **CLOSE)


def test_instructions(server, encoder):
    for role, stored in (("query", "Find: "), ("search_query", "Find: "), ("title", "Title: "), ("document", None)):
        np.testing.assert_allclose(
            embedded(server, input=TEXTS, input_type=role), encoder.encode(TEXTS, prompt=stored or ""), **CLOSE
        )
    np.testing.assert_allclose(embedded(server, input=TEXTS, prompt="See: "), encoder.encode(TEXTS, prompt="See: "), **CLOSE)
    each = [f"Number {i}: " if i % 3 else "" for i in range(len(TEXTS))]
    np.testing.assert_allclose(embedded(server, input=TEXTS, prompt=each), encoder.encode(list(zip(each, TEXTS))), **CLOSE)
    assert np.abs(encoder.encode(TEXTS, prompt="See: ") - encoder.encode(TEXTS)).max() > 1e-2


def test_two_texts_are_no_pair(server, encoder):
    np.testing.assert_allclose(embedded(server, input=["Find: ", "a cat"]), encoder.encode(["Find: ", "a cat"]), **CLOSE)


def test_binary(server, client, encoder):
    for precision in ("binary", "ubinary"):
        expected = encoder.encode(TEXTS, precision=precision)
        assert np.array_equal(embedded(server, input=TEXTS, precision=precision), expected)
        # this client asks for base64 by itself, and reads base64 as float32
        answer = client.embeddings.create(model="tiny", input=TEXTS, extra_body={"precision": precision})
        assert np.array_equal([item.embedding for item in answer.data], expected)


@pytest.mark.parametrize("chunks", ["sentences", 3])
def test_late_chunks(server, encoder, chunks):
    texts = ["One is here. Two is there.", " ".join(SENTENCES * 2)]
    expected = encoder.encode_chunks(texts, chunks)
    _, answer, _ = server.ask("/v1/embeddings", {"input": texts, "late_chunks": chunks})
    found = [item["embedding"] for item in answer["data"]]
    np.testing.assert_allclose(found, np.concatenate([each.vectors for each in expected]), **CLOSE)
    places = [(item["document"], tuple(item["span"])) for item in answer["data"]]
    assert places == [(number, span) for number, each in enumerate(expected) for span in each.spans]


def test_long_texts_are_cut_and_named(server, encoder):
    texts = ["short", " ".join(SENTENCES)]
    _, answer, _ = server.ask("/v1/embeddings", {"input": texts})
    assert answer["truncated"] == [1]
    np.testing.assert_allclose([item["embedding"] for item in answer["data"]], encoder.encode(texts), **CLOSE)
    assert "input[1]: is longer than the 64 tokens" in server.refused(
        "/v1/embeddings", {"input": texts, "truncate": False}, 422
    )
    body = {"query": "short", "documents": texts, "truncate": False}
    assert "documents[1]: is longer than the 64 tokens" in server.refused("/v1/rerank", body, 422)
    body = {"query": texts[1], "documents": ["short"], "truncate": False}
    assert "query: is longer than the 64 tokens" in server.refused("/v1/rerank", body, 422)
    body = {"queries": texts, "documents": ["short"], "truncate": False}
    assert "queries[1]: is longer than the 64 tokens" in server.refused("/v1/similarity", body, 422)
    assert "truncated" not in server.ask("/v1/embeddings", {"input": "short", "truncate": False})[1]


def test_token_ids_are_refused_with_the_clients_setting(client):
    with pytest.raises(openai.UnprocessableEntityError, match="check_embedding_ctx_length=False"):
        client.embeddings.create(model="tiny", input=[[1, 2], [3]])
    with pytest.raises(openai.UnprocessableEntityError, match="check_embedding_ctx_length=False"):
        client.embeddings.create(model="tiny", input=[1, 2])


def test_token_ids_of_our_own_vocabulary(encoder):
    ids = encoder.tokenizer(TEXTS[:8])["input_ids"]
    with running({"tiny": encoder}, accept_token_ids=True) as server:
        expected = encoder.encode(TEXTS[:8])
        np.testing.assert_allclose(embedded(server, input=ids), expected, **CLOSE)
        np.testing.assert_allclose(embedded(server, input=ids[0]), expected[:1], **CLOSE)
        assert "999999 is not a token id" in server.refused("/v1/embeddings", {"input": [[1], [999999]]}, 422)
        assert "-1 is not a token id" in server.refused("/v1/embeddings", {"input": [-1]}, 422)
        assert "cannot be put before token ids" in server.refused("/v1/embeddings", {"input": [5], "input_type": "query"}, 422)


@pytest.mark.parametrize(
    ("body", "param", "sentence"),
    [
        ({"input": []}, "input", "at least one text"),
        ({"input": None}, "input", "not null"),
        ({"input": ["a", 3]}, "input", "item 1 must be a text, not a number"),
        ({"input": ["a", ["b"]]}, "input", "item 1 must be a text, not a list"),
        ({"input": [[1], "a"]}, "input", "item 1 must be a list of token ids"),
        ({"input": [[1], []]}, "input", "item 1 must have at least one token id"),
        ({"input": [1, "a"]}, "input", "mixes"),
        ({"input": {"text": "a"}}, "input", "not an object"),
        ({}, "input", "required"),
        ({"inptu": "a"}, None, "unknown key 'inptu'; did you mean 'input'?"),
        ({"input": "a", "prompts": "x"}, None, "did you mean 'prompt'?"),
        ({"input": "a", "dimensions": 33}, "dimensions", "at most 32"),
        ({"input": "a", "dimensions": 0}, "dimensions", "greater than or equal to 1"),
        ({"input": "a", "dimensions": True}, "dimensions", "expected a number"),
        ({"input": "a", "dimensions": "4"}, "dimensions", "integer"),
        ({"input": "a", "dimensions": 12, "precision": "binary"}, "dimensions", "multiple of 8"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
        ({"input": "a", "precision": "int4"}, "precision", "'binary'"),
        ({"input": "a", "input_type": "nonsense"}, "input_type", "query"),
        ({"input": "a", "input_type": "query", "prompt": "b"}, "prompt", "leave one out"),
        ({"input": "a", "prompt": ["b", "c"]}, "prompt", "one for each text, so 1 (got 2)"),
        ({"input": "a", "prompt": "word " * 80}, "input", "leaves no token"),
        ({"input": "a", "late_chunks": 0}, "late_chunks", "at least 1"),
        ({"input": "a", "late_chunks": "words"}, "late_chunks", "sentences"),
        ([1], None, "JSON object"),
    ],
)
def test_wrong_bodies_are_refused_in_one_sentence(server, body, param, sentence):
    assert sentence in server.refused("/v1/embeddings", body, 422)
    assert server.ask("/v1/embeddings", body)[1]["error"]["param"] == param


def test_unknown_models_and_paths(server):
    assert "name one of tiny" in server.refused("/v1/embeddings", {"input": "a", "model": "ada"}, 404)
    assert "/v1/embeddings" in server.refused("/nothing", {}, 404)
    assert "does not take POST" in server.refused("/health", {}, 405)


def test_broken_json(server):
    assert "is not JSON" in server.refused("/v1/embeddings", b'{"input": "a"', 400)
    assert server.ask("/v1/embeddings", b"[" * 100_000)[0] == 400
    assert server.ask("/v1/embeddings", b'{"input": "\xff"}')[0] == 400
    assert "application/json" in server.refused("/v1/embeddings", b"{}", 422, {"Content-Type": "text/plain"})


def test_hostile_texts(server, encoder):
    texts = ["\ud800 half", "\x00", "👩‍👩‍👧", "日本語", "‮reversed", "x" * 10_000, "\n\t "]
    np.testing.assert_allclose(embedded(server, input=texts), encoder.encode(texts), **CLOSE)


def test_several_models(encoder, tmp_path):
    import bothways as bw
    from tiny import tiny_llama

    other = bw.convert(str(tiny_llama(tmp_path, seed=1)), dtype="float32")
    with running({"first": encoder, "second": other}) as server:
        assert [model["id"] for model in server.ask("/v1/models")[1]["data"]] == ["first", "second"]
        assert server.ask("/v1/models/second")[1]["dimension"] == 32
        assert "name one of first, second" in server.refused("/v1/models/third", None, 404)
        for name, model in (("first", encoder), ("second", other)):
            np.testing.assert_allclose(embedded(server, input=TEXTS, model=name), model.encode(TEXTS), **CLOSE)
        assert "name one of first, second" in server.refused("/v1/embeddings", {"input": "a"}, 422)
