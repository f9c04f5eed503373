"""Runs a folder in sentence-transformers, plain transformers or llm2vec, in a process of its own.

    PYTHON -I folder_loaders.py < request.json

It prints one line "vectors: …", or ends with the loader's own error. It does not use bothways, so
PYTHON may be the interpreter of another environment, with other releases. Plain transformers runs
as a reader of the model card would: AutoModel, and the pooling in 1_Pooling/config.json. It does
not share code with sentence-transformers.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

MARK = "vectors: "


def _sentence_transformers(
    folder: str, rows: list[dict[str, Any]], batch: int, trust: bool
) -> list[list[float]]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu", trust_remote_code=trust)
    vectors: list[Any] = [None] * len(rows)
    for prompt in dict.fromkeys(row["prompt"] for row in rows):
        chosen = [place for place, row in enumerate(rows) if row["prompt"] == prompt]
        given = (
            {"prompt_name": prompt} if prompt else {"prompt": ""}
        )  # "" also prevents a default prompt
        found = model.encode([rows[place]["text"] for place in chosen], batch_size=batch, **given)
        for place, vector in zip(chosen, found):
            vectors[place] = vector.astype("float64").tolist()
    return vectors


def _transformers(
    folder: str, rows: list[dict[str, Any]], batch: int, trust: bool
) -> list[list[float]]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    settings = json.loads((Path(folder) / "sentence_bert_config.json").read_text(encoding="utf-8"))
    pooling = json.loads((Path(folder) / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, **settings.get("model_args", {})).eval()
    vectors = []
    for start in range(0, len(rows), batch):
        texts = [row["text"] for row in rows[start : start + batch]]
        given = tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=settings["max_seq_length"],
            return_tensors="pt",
        )
        with torch.no_grad():
            states = model(**given).last_hidden_state.double()
        for state, mask in zip(states, given["attention_mask"].bool()):
            kept = state[mask]
            if pooling["pooling_mode"] == "mean":
                vector = kept.mean(0)
            elif pooling["pooling_mode"] == "max":
                vector = kept.max(0).values
            elif pooling["pooling_mode"] == "weightedmean":
                weights = torch.arange(1, len(kept) + 1, dtype=kept.dtype)
                vector = (kept * weights[:, None]).sum(0) / weights.sum()
            else:
                vector = kept[0 if pooling["pooling_mode"] == "cls" else -1]
            vectors.append(vector.tolist())
    return vectors


def _llm2vec(folder: str, rows: list[dict[str, Any]], batch: int, trust: bool) -> list[list[float]]:
    import torch
    from llm2vec import LLM2Vec
    from peft import PeftModel

    export = json.loads((Path(folder) / "bothways-export.json").read_text(encoding="utf-8"))
    adapters = export.get("adapters") or []
    if adapters:
        os.chdir(folder)  # the adapters name their base as "base"
        first, second = ("base", adapters[0]) if len(adapters) == 1 else adapters[:2]
        model = LLM2Vec.from_pretrained(
            first, peft_model_name_or_path=second, merge_peft=True, torch_dtype=torch.float32
        )
        for name in adapters[2:]:
            model.model = PeftModel.from_pretrained(model.model, name).merge_and_unload()
    else:
        model = LLM2Vec.from_pretrained(folder, torch_dtype=torch.float32)
    pairs = [[row["prompt"], row["text"]] for row in rows]
    found = model.encode(pairs, batch_size=batch, show_progress_bar=False, device="cpu")
    vectors: list[list[float]] = found.double().tolist()
    return vectors


LOADERS = {
    "sentence-transformers": _sentence_transformers,
    "transformers": _transformers,
    "llm2vec": _llm2vec,
}


def _main() -> None:
    import transformers

    given = json.load(sys.stdin)
    versions = {"transformers": transformers.__version__}
    if given["loader"] == "sentence-transformers":
        import sentence_transformers

        versions["sentence-transformers"] = sentence_transformers.__version__
    if given["loader"] == "llm2vec":
        from importlib.metadata import version

        versions["llm2vec"] = version("llm2vec")
    run = LOADERS[given["loader"]]
    vectors = [
        run(given["folder"], given["rows"], batch, given["trust"])
        for batch in (1, len(given["rows"]))
    ]
    print("\n" + MARK + json.dumps({"versions": versions, "vectors": vectors}), flush=True)  # noqa: T201 - the parent process reads it


if __name__ == "__main__":
    _main()
