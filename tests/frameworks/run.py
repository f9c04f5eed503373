"""Cosine between bothways and the frameworks around sentence-transformers, with the code that the
model card gives and the examples.

    make frameworks                        nine kinds of encoders over a small random model
    make frameworks BASES=smollm2-135m     one kind over these models

It runs in an environment of its own (constraints-frameworks.txt), because the frameworks pin other
versions than the development set. For encoders of every kind of prompt it takes the code blocks out
of the saved README.md, puts texts in, runs them as they are, and compares each vector with
bothways'. Exit code 1 below the bar.
"""

from __future__ import annotations

import logging
import os
import re
import runpy
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1",
    TQDM_DISABLE="1",
    TOKENIZERS_PARALLELISM="false",
    ANONYMIZED_TELEMETRY="False",
    HAYSTACK_TELEMETRY_ENABLED="False",
)
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np  # noqa: E402

import bothways as bw  # noqa: E402
from tiny import tiny_llama  # noqa: E402

BAR = 0.99999
QUERIES = ["a query", "Which river runs from the old mountain to the sea?", "비가 오면 고양이는 어디에 있나요?"]
DOCUMENTS = [
    "yes",
    "The river runs from the old mountain to the sea.",
    "고양이가 창가에 앉아 비를 본다.",
    "Two plus two is four. " * 30,
]
LINES = ["def count(items):\n    return len(items)", "first line\nsecond line"]
PACKAGES = (
    *("langchain-core", "langchain-huggingface", "llama-index-core", "llama-index-embeddings-huggingface"),
    *("haystack-ai", "sentence-transformers-haystack", "chromadb", "sentence-transformers", "transformers", "torch"),
)
ENCODERS: dict[str, dict[str, Any]] = {
    "query and document": {"prompts": {"query": "Find:\n", "document": "Text:\n"}},
    "query alone": {"prompts": {"query": "Find the text that answers:\n"}},
    "default for both": {"prompts": {"first": "\n"}, "default_prompt": "first"},
    "default, query": {"prompts": {"any": "A text:\n", "query": "Find:\n"}, "default_prompt": "any"},
    "passage": {"prompts": {"query": "Find:\n", "passage": "Text:\n"}},
    "pooled prompts": {"prompts": {"query": "Find:\n", "document": "Text:\n"}, "pool_prompt": True},
    "no prompts": {},
    "latent attention": {"prompts": {"query": "Find:\n"}, "pooling": {"mode": "latent_attention", "latents": 4, "heads": 2}},
    "template": {"prompts": {"query": "Query:\n{text}\nIn one word:", "document": "Text:\n{text}\nIn one word:"}},
}


def save(name: str, base: str, folder: Path) -> Any:
    """Make the encoder of a case, save it, and give what bothways loads."""
    options = dict(ENCODERS[name])
    pool_prompt = options.pop("pool_prompt", False)
    encoder = bw.convert(base, dtype="float32", device="cpu", **options)
    encoder.options.pool_prompt = pool_prompt
    encoder.save(folder)
    return bw.load(folder, dtype="float32", device="cpu")


def blocks(folder: Path) -> dict[str, str]:
    """Code of the card by the name of its section, with the folder's path put in."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"### ([^\n]+)\n\n```python\n(.*?)```", card, re.DOTALL))
    return {name: code.replace("this folder", str(folder)) for name, code in found.items()}


def run(code: str, query: str, documents: list[str]) -> tuple[Any, Any]:
    """The vectors that a block leaves for these texts."""
    code = code.replace('"a query"', repr(query)).replace('["a document"]', repr(documents))
    code = code.replace("bw.load(", 'bw.load(dtype="float32", folder=')  # by default in bfloat16, where the CPU multiplies it
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    if "collection" in names:
        near = cosines(np.asarray([names["query"]]), np.asarray(names["documents"])).argmax()
        assert names["found"]["ids"][0][0] == str(near), "Chroma finds another text than the cosine"
        forget()
    return names["query"], names["documents"]


def forget() -> None:
    """Remove what Chroma keeps in memory for the whole process."""
    if "chromadb" in sys.modules:
        sys.modules["chromadb"].EphemeralClient().delete_collection("texts")


def cosines(a: Any, b: Any) -> np.ndarray:
    """Cosine of each row of `a` with its row of `b`, or with the one row that `b` has."""
    a, b = (np.atleast_2d(np.asarray(each, dtype=np.float64)) for each in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def measure(encoder: Any, code: str) -> tuple[float, float]:
    """Least cosine over texts of one line, and over texts of several lines."""
    least = []
    for queries, documents in ((QUERIES, DOCUMENTS), (LINES, LINES)):
        ours = encoder.encode_document(documents)
        found = []
        for query in queries:
            vector, vectors = run(code, query, documents)
            found += [*cosines(vector, encoder.encode_query(query)), *cosines(vectors, ours)]
        least.append(float(min(found)))
    return least[0], least[1]


def example(file: Path, encoder: Any, folder: Path) -> float:
    """Least cosine of an example's vectors; what it finds must be in the order of bothways'
    similarities.
    """
    before, sys.argv = sys.argv, [str(file), str(folder)]
    try:
        names = runpy.run_path(str(file))
    finally:
        sys.argv = before
    if "store" in names and file.stem == "with_chroma":
        forget()
    query, documents = encoder.encode_query(names["question"]), encoder.encode_document(names["texts"])
    order = np.argsort(-cosines(documents, query), kind="stable")
    assert names["found"] == [names["texts"][place] for place in order], f"{file.name}: another order"
    return float(min([*cosines(names["query"], query), *cosines(np.asarray(names["documents"]), documents)]))


def main() -> int:
    logging.getLogger("bothways").setLevel(logging.ERROR)
    print("  ".join(f"{name} {version(name)}" for name in PACKAGES))
    worst = 1.0
    bases = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        tiny = str(tiny_llama(Path(place) / "base", tokenizer={"vocab_size": 400}))
        for base in bases or [tiny]:
            for number, name in enumerate([next(iter(ENCODERS))] if bases else ENCODERS):
                folder = Path(place) / f"{Path(base).name}-{number}"
                encoder = save(name, base, folder)
                for library, code in blocks(folder).items():
                    one, several = measure(encoder, code)
                    worst = min(worst, one, 1.0 if library == "LangChain" else several)
                    print(
                        f"{'ok  ' if min(one, several) >= BAR else 'low '}  {name:20} {library:22} {one:.6f}  lines {several:.6f}"
                    )
                if number == 0:
                    for file in sorted((ROOT / "examples" / "frameworks").glob("*.py")):
                        found = example(file, encoder, folder)
                        worst = min(worst, found)
                        print(f"{'ok  ' if found >= BAR else 'low '}  {name:20} {file.name:22} {found:.6f}")
    print(f"least cosine {worst:.6f}, bar {BAR} (LangChain: texts of one line)")
    return 0 if worst >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
