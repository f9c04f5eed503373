"""The adapter: mteb's protocol, which method and prompt a text meets, what is handed on, what mteb
is told of the encoder.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bothways.encoder.convert import convert
from bothways.errors import InputError
from bothways.evaluation.mteb.instructions import styled_prompt
from bothways.evaluation.task import RunOptions
from tiny import tiny_llama

mteb = pytest.importorskip("mteb")

from bothways.evaluation.mteb.adapter import MtebEncoder  # noqa: E402

NQ = "Given a question, retrieve Wikipedia passages that answer the question"
QUERY, DOCUMENT = mteb.types.PromptType.query, mteb.types.PromptType.document


class Recorder:
    """Notes how it is called; its vectors count letters."""

    similarity_fn_name = None

    def __init__(self, prompts: dict[str, str] | None = None) -> None:
        self.prompts = prompts or {}
        self.calls: list[tuple[str, dict]] = []

    def _note(self, method, texts, options):
        self.calls.append((method, {key: value for key, value in options.items() if value is not None}))
        return np.array([[text.lower().count(c) + 0.1 for c in "abcdefghij"] for text in texts], dtype=np.float64)

    def encode(self, texts, prompt=None, batch_size=None, precision="float32", show_progress_bar=None, batch_tokens=None):
        return self._note("encode", texts, {"prompt": prompt, "batch_size": batch_size, "precision": precision,
                                            "show_progress_bar": show_progress_bar, "batch_tokens": batch_tokens})  # fmt: skip

    def encode_query(self, texts, **options):
        return self._note("encode_query", texts, options)

    def encode_document(self, texts, **options):
        return self._note("encode_document", texts, options)


class Plain:
    """Takes texts and nothing else."""

    def encode(self, texts):
        return torch.tensor([[len(text), text.count("a") + 1.0] for text in texts], dtype=torch.bfloat16)


def encode(adapter, task="STS12", prompt_type=None, texts=("a cat", "a dog", "a cat"), **kwargs):
    metadata = mteb.get_task(task).metadata
    batches = [{"text": list(texts[:2])}, {"text": list(texts[2:])}]
    return adapter.encode(
        batches, task_metadata=metadata, hf_split="test", hf_subset="default", prompt_type=prompt_type, **kwargs
    )


def test_it_is_an_encoder_to_mteb_and_nothing_else():
    from mteb.models import CrossEncoderProtocol, EncoderProtocol, SearchProtocol

    adapter = MtebEncoder(Plain())
    assert isinstance(adapter, EncoderProtocol)
    assert not isinstance(adapter, (SearchProtocol, CrossEncoderProtocol))
    with pytest.raises(InputError, match="cannot run dict on MTEB: it does not have a method encode"):
        MtebEncoder({})


def test_vectors_come_in_order_as_float32():
    vectors = encode(MtebEncoder(Plain()))
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [[5, 3], [5, 2], [5, 3]])
    assert encode(MtebEncoder(Recorder())).dtype == np.float32


@pytest.mark.parametrize(
    ("stored", "style", "task", "side", "expected"),
    [
        ({}, None, "STS12", None, ("encode", None)),
        ({}, None, "SciFact", QUERY, ("encode_query", None)),
        ({}, None, "SciFact", DOCUMENT, ("encode_document", None)),
        # published instructions; "" keeps a prompt that the encoder has stored away from documents
        ({}, "llm2vec", "STS12", None, ("encode", "Retrieve semantically similar text: ")),
        ({"document": "passage: "}, "llm2vec", "NFCorpus", DOCUMENT, ("encode_document", "")),
        ({}, "e5", "NQ", QUERY, ("encode_query", f"Instruct: {NQ}\nQuery: ")),
        # stored prompts, in mteb's order: task and side, task, type and side, type, side
        ({"query": "q: "}, None, "SciFact", QUERY, ("encode_query", "q: ")),
        ({"Retrieval-query": "r: ", "query": "q: "}, None, "SciFact", QUERY, ("encode_query", "r: ")),
        ({"SciFact": "s: ", "Retrieval-query": "r: "}, None, "SciFact", QUERY, ("encode_query", "s: ")),
        ({"STS": "sts: ", "query": "q: "}, None, "STS12", None, ("encode", "sts: ")),
        ({"query": "q: "}, None, "STS12", None, ("encode", None)),
    ],
)  # fmt: skip
def test_side_and_prompt(stored, style, task, side, expected):
    recorder = Recorder(stored)
    encode(MtebEncoder(recorder, prompts=style), task, side)
    [(method, options)] = recorder.calls
    assert (method, options.get("prompt")) == expected


def test_batch_size_precision_and_progress_are_handed_on():
    recorder = Recorder()
    encode(MtebEncoder(recorder), batch_size=7, precision="int8", show_progress_bar=False)
    assert recorder.calls == [("encode", {"batch_size": 7, "precision": "int8", "show_progress_bar": False})]
    # inside one of our runs passes are measured in tokens, and the progress bar is ours
    recorder.calls.clear()
    encode(MtebEncoder(recorder, options=RunOptions(batch_tokens=64)), batch_size=32, show_progress_bar=False)
    assert recorder.calls == [("encode", {"precision": "float32", "batch_tokens": 64})]
    # an encoder that takes none of it is not bothered, but for what would change its scores
    encode(MtebEncoder(Plain()), batch_size=7, precision="float32", show_progress_bar=False)
    with pytest.raises(InputError, match="Plain does not accept a precision, but 'int8' is asked for"):
        encode(MtebEncoder(Plain()), precision="int8")
    # it takes no prompt, so the instruction comes before each text
    lengths = encode(MtebEncoder(Plain(), prompts="llm2vec"))[:, 0] - encode(MtebEncoder(Plain()))[:, 0]
    prompt = styled_prompt("STS12", "llm2vec", "symmetric", own=None, kind="STS")
    assert prompt and {int(length) for length in lengths} == {len(prompt)}


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_binary_vectors_are_unpacked_to_signs(precision):
    from sentence_transformers.util import quantize_embeddings

    real = np.random.default_rng(0).normal(size=(5, 24)).astype(np.float32)

    class Binary:
        def encode(self, texts, precision="float32"):
            return quantize_embeddings(real[: len(texts)], precision=precision)

    texts = [f"text {i}" for i in range(5)]
    vectors = encode(MtebEncoder(Binary()), texts=texts, precision=precision)
    np.testing.assert_array_equal(vectors, np.where(real > 0, 1, -1))


def test_similarities_are_cosines_unless_the_encoder_has_its_own():
    a, b = np.random.default_rng(1).normal(size=(2, 6, 16)).astype(np.float32)
    exact = (a / np.linalg.norm(a, axis=1)[:, None]).astype(np.float64) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
    adapter = MtebEncoder(Plain())
    # products of 16 float32 terms
    np.testing.assert_allclose(adapter.similarity(a, torch.from_numpy(b)), exact, atol=1e-6)
    np.testing.assert_allclose(adapter.similarity_pairwise(a, b), np.diag(exact), atol=1e-6)
    assert adapter.similarity(a[0], b).shape == (1, 6)
    assert adapter.mteb_model_meta.similarity_fn_name.value == "cosine"

    class Dot(Plain):
        similarity_fn_name = "dot"

    class Own(Plain):
        similarity_fn_name = "angular"

        def similarity(self, left, right):
            return torch.ones(len(left), len(right))

    assert MtebEncoder(Own()).similarity(a, b).sum() == 36
    assert MtebEncoder(Dot()).mteb_model_meta.similarity_fn_name.value == "dot"
    np.testing.assert_allclose(MtebEncoder(Dot()).similarity(a, b), a @ b.T, atol=1e-6)
    np.testing.assert_allclose(MtebEncoder(Dot()).similarity_pairwise(a, b), (a * b).sum(1), atol=1e-5)


def test_mocks_pass_with_our_encoder(tmp_path):
    """mteb's own check of a model: every kind of text task once, on mock data."""
    encoder = convert(str(tiny_llama(tmp_path / "base")), device="cpu", dtype="float32")
    results = mteb.mock_run(MtebEncoder(encoder, prompts="llm2vec"))
    ran = {name: type(status).__name__ for name, status in results.items() if status is not None}
    assert results.all_passed, {name: status for name, status in ran.items() if status != "TaskResult"}
    assert set(ran.values()) == {"TaskResult"} and len(ran) >= 20
