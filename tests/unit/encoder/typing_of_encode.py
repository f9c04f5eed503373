"""Not run: mypy reads it (test_encode_types.py). Each line says what a call of the public API
returns.
"""

import numpy as np
from torch import Tensor
from typing_extensions import assert_type

import bothways
from bothways.compat import LLM2Vec
from bothways.encoder.chunks.late_chunking import Chunks
from bothways.encoder.encode_types import Vector, Vectors
from bothways.encoder.inference import TokenStates


def check(encoder: bothways.Encoder, flag: bool, texts: list[str], pairs: list[tuple[str, str]]) -> None:
    assert_type(encoder.encode("a cat"), Vector)
    assert_type(encoder.encode(("Find it:", "a cat")), Vector)
    assert_type(encoder.encode(texts), Vectors)
    assert_type(encoder.encode(pairs), Vectors)
    assert_type(encoder.encode(texts, "query", batch_size=2, truncate_dim=8), Vectors)
    assert_type(encoder.encode(texts, None, "Find: ", 8, False, precision="binary"), Vectors)
    assert_type(encoder.encode(texts, convert_to_tensor=True), Tensor)
    assert_type(encoder.encode("a cat", convert_to_numpy=False), Tensor)
    assert_type(encoder.encode(texts, convert_to_tensor=flag), np.ndarray | Tensor)
    assert_type(encoder.encode_query("a cat"), Vector)
    assert_type(encoder.encode_query(texts, prompt="Find: "), Vectors)
    assert_type(encoder.encode_query(texts, convert_to_tensor=True), Tensor)
    assert_type(encoder.encode_document("a cat", normalize_embeddings=True), Vector)
    assert_type(encoder.encode_document(texts), Vectors)
    assert_type(encoder.encode_document(texts, convert_to_numpy=False), Tensor)
    assert_type(encoder.encode_document(texts, convert_to_tensor=flag), np.ndarray | Tensor)
    assert_type(encoder.encode_tokens("a cat"), TokenStates)
    assert_type(encoder.encode_tokens(texts), list[TokenStates])
    assert_type(encoder.encode_chunks("a cat. A dog."), Chunks)
    assert_type(encoder.encode_chunks("a cat", [(0, 1)]), Chunks)
    assert_type(encoder.encode_chunks(texts, 128), list[Chunks])
    assert_type(encoder.encode_chunks(texts, [[(0, 1)], [(0, 2)]]), list[Chunks])


def check_loaded() -> None:
    assert_type(bothways.load("folder").encode("a cat"), Vector)
    assert_type(bothways.load_export("folder").encode(["a cat"]), Vectors)
    assert_type(bothways.convert("smollm2-135m").encode(["a cat"], convert_to_tensor=True), Tensor)


def check_llm2vec(model: LLM2Vec, flag: bool) -> None:
    assert_type(model.encode(["a cat"]), Tensor)
    assert_type(model.encode(["a cat"], convert_to_numpy=True), Vectors)
    assert_type(model.encode([["Find it:", "a cat"]], convert_to_numpy=True, convert_to_tensor=True), Vectors | Tensor)
    assert_type(model.encode(["a cat"], convert_to_numpy=flag), Vectors | Tensor)


def check_mistakes(encoder: bothways.Encoder) -> None:
    encoder.encode("a cat", batchsize=2)  # type: ignore[call-overload]
    encoder.encode_query("a cat", precision="float7")  # type: ignore[call-overload]
    encoder.encode_tokens(["a cat"], prompts="Find: ")  # type: ignore[call-overload]
