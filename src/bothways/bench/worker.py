"""One library in a process of its own, which answers one request a line.

    PYTHON -I worker.py '{"loader": "sentence-transformers", "folder": "…", "batch": 8, …}'

The parent process writes one JSON object a line, and gets one back:

    {"do": "open"}                                        → {"versions": …, "seconds": …}
    {"do": "texts", "name": "queries", "texts": [...]}    → {}
    {"do": "round", "name": "queries", "each": true}      → {"seconds": [one for each text]}
    {"do": "round", "name": "queries", "each": false}     → {"seconds": [one number]}
    {"do": "vectors", "name": "queries", "count": 32}     → {"vectors": [[...], ...]}
    {"do": "products", "rows": 1024}                      → {"seconds": …}, see `Products`
    {"do": "memory"}                                      → {"bytes": peak of resident memory}

A request that fails gets {"error": "…"}. This file imports bothways only for loaders that are of
bothways, so PYTHON may be the interpreter of another environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Encode = Callable[[Sequence[str]], Any]

WARM_ROWS = 2
"""Products that `Products` runs before it measures."""
HELD = 2**28
"""Bytes of float32 matrices of one shape that `Products` holds."""
REQUEST = 32
"""Texts of one request to llama.cpp."""


def _bothways(given: dict[str, Any]) -> Encode:
    """Open an encoder, or an ONNX or OpenVINO export, as `bothways.load` does."""
    from bothways.exports.graphs.exported import is_graph, load, load_export

    if is_graph(given["folder"]):
        encoder: Any = load_export(given["folder"], threads=given["threads"])
    else:
        quantize = given.get("quantize")
        options = {"quantize": quantize} if quantize else {"dtype": given["dtype"]}
        graph = given.get("graph", "none")
        encoder = load(given["folder"], graph=graph, device="cpu", **options)
    return lambda texts: encoder.encode(list(texts), show_progress_bar=False)


def _sentence_transformers(given: dict[str, Any]) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    kind = {"dtype": getattr(torch, given["dtype"])}
    model = SentenceTransformer(given["folder"], device="cpu", model_kwargs=kind)
    return lambda texts: model.encode(
        list(texts), batch_size=given["batch"], show_progress_bar=False
    )


def _llm2vec(given: dict[str, Any]) -> Encode:
    import torch
    from llm2vec import LLM2Vec

    model = LLM2Vec.from_pretrained(given["folder"], torch_dtype=getattr(torch, given["dtype"]))
    return lambda texts: (
        model.encode(
            [["", text] for text in texts],
            batch_size=given["batch"],
            show_progress_bar=False,
            device="cpu",
        )
        .float()
        .numpy()
    )


def _llama_cpp(given: dict[str, Any]) -> Encode:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = given["folder"]
    params.embedding = True
    # a text without a causal mask must fit into one batch, and several texts share it
    params.n_ctx = params.n_batch = params.n_ubatch = given["tokens"]
    params.n_parallel = given["batch"]
    params.kv_unified = True
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given["threads"]
    server = xllamacpp.Server(params)

    def encode(texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = []
        for start in range(0, len(texts), REQUEST):
            part = list(texts[start : start + REQUEST])
            answer = server.handle_embeddings({"input": part, "embd_normalize": -1})
            answer = json.loads(answer) if isinstance(answer, str) else answer
            if "data" not in answer:
                raise RuntimeError(f"llama.cpp: {answer}")
            found = sorted(answer["data"], key=lambda each: each["index"])
            vectors += [each["embedding"] for each in found]
        return vectors

    return encode


LOADERS: dict[str, tuple[Callable[[dict[str, Any]], Encode], tuple[str, ...]]] = {
    "bothways": (_bothways, ("bothways", "torch", "transformers", "onnxruntime", "openvino")),
    "sentence-transformers": (
        _sentence_transformers,
        ("sentence-transformers", "torch", "transformers"),
    ),
    "llm2vec": (_llm2vec, ("llm2vec", "torch", "transformers", "peft")),
    "llama.cpp": (_llama_cpp, ("xllamacpp",)),
}
"""Loaders by name, with the packages that determine their speed."""


class Products:
    """Times the matrix products of an encoder's layers alone, which bound its speed.

    Args:
        shapes: (inputs, outputs, number of such matrices) for each shape of the backbone.
        dtype: name of the torch type.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], dtype: str) -> None:
        import torch

        kind = getattr(torch, dtype)
        self.torch = torch
        self.random = torch.Generator().manual_seed(0)  # the caller's random numbers stay
        # several matrices of a shape, because a single one would stay in the cache
        self.weights = []
        for inputs, outputs, count in shapes:
            held = min(count, max(2, HELD // (4 * inputs * outputs)))
            made = [self._normal(outputs, inputs).mul_(inputs**-0.5).to(kind) for _ in range(held)]
            self.weights.append((count, made))

    def _normal(self, rows: int, columns: int) -> Tensor:
        drawn: Tensor = self.torch.randn(rows, columns, generator=self.random)
        return drawn

    def seconds(self, rows: int) -> float:
        """Return the time of all products for `rows` tokens."""
        torch = self.torch
        taken = 0.0
        with torch.inference_mode():
            for count, weights in self.weights:
                tokens = self._normal(rows, weights[0].shape[1]).to(weights[0].dtype)
                for weight in weights[:WARM_ROWS]:
                    torch.nn.functional.linear(tokens, weight)
                start = time.perf_counter()
                for weight in weights:
                    torch.nn.functional.linear(tokens, weight)
                taken += (time.perf_counter() - start) * count / len(weights)
        return taken


class Answers:
    """Answers requests with one loader.

    Args:
        given: the command line's object: loader, folder, dtype, batch, threads, tokens, path.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.encode: Encode | None = None
        self.texts: dict[str, list[str]] = {}
        self.products: Products | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request. Any error becomes an answer."""
        try:
            found: dict[str, Any] = getattr(self, f"_{request['do']}")(request)
        except Exception as error:  # every library has errors of its own
            found = {"error": f"{type(error).__name__}: {error}"}
        return found

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        load, packages = LOADERS[self.given["loader"]]
        start = time.perf_counter()
        self.encode = load(self.given)
        seconds = time.perf_counter() - start
        found = {"python": ".".join(map(str, sys.version_info[:3]))}
        for package in packages:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        return {"versions": found, "seconds": seconds}

    def _texts(self, request: dict[str, Any]) -> dict[str, Any]:
        self.texts[request["name"]] = request["texts"]
        return {}

    def _round(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.encode is not None
        texts = self.texts[request["name"]]
        seconds = []
        for part in [[text] for text in texts] if request["each"] else [texts]:
            start = time.perf_counter()
            self.encode(part)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}

    def _vectors(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.encode is not None
        found = self.encode(self.texts[request["name"]][: request["count"]])
        return {"vectors": [[float(number) for number in vector] for vector in found]}

    def _products(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.products is None:
            self.products = Products(self.given["shapes"], self.given["dtype"])
        return {"seconds": self.products.seconds(request["rows"])}

    def _memory(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"bytes": peak_memory()}


def peak_memory() -> int:
    """Return the peak of this process's resident memory in bytes.

    On Linux it is read from /proc, because `getrusage` also counts the parent's memory at the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _set_threads(given: dict[str, Any]) -> None:
    if given["loader"] == "llama.cpp":  # its environment does not have torch
        return
    import torch

    torch.set_num_threads(given["threads"])


def main() -> None:
    """Answer the requests of standard input until it ends."""
    given = json.loads(sys.argv[1])
    if given.get("path"):
        sys.path.insert(0, given["path"])
    # libraries print to standard output, so the answers keep a copy of it to themselves
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _set_threads(given)
    answers = Answers(given)
    for line in sys.stdin:
        out.write(json.dumps(answers.answer(json.loads(line))) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
