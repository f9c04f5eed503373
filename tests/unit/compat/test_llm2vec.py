"""`bothways.compat.LLM2Vec`: the published how-to with the import and the base's name changed, and
LLM2Vec's own rules step by step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, AutoTokenizer
from typer.testing import CliRunner

import bothways as bw
from bothways.cli.app import app
from bothways.compat import LLM2Vec
from bothways.errors import InputError
from tiny import SENTENCES
from unit.compat.chat_model import AFTER, BEFORE, DOCUMENTS, QUERIES, adapter, chat_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("models") / "tiny")


def authors_way(model: Any, folder: Path, items: list[Any], *, causal: bool = False) -> torch.Tensor:
    """What `LLM2Vec.encode` computes, one text at a time: wrapped, all tokens seen, the text and
    what follows it averaged.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vectors = []
    for instruction, text in ((item if isinstance(item, list) else ["", item]) for item in items):
        head = BEFORE + (f"{instruction.strip()} " if instruction else "")
        tail = text.rstrip() + AFTER
        ids = tokenizer(head + tail, return_tensors="pt")["input_ids"]
        kept = len(tokenizer(tail, add_special_tokens=False)["input_ids"])
        mask = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
        if causal:
            mask = mask.masked_fill(torch.ones_like(mask).triu(1).bool(), torch.finfo(torch.float32).min)
        with torch.no_grad():
            vectors.append(model(input_ids=ids, attention_mask=mask).last_hidden_state[0, -kept:].mean(0))
    return torch.stack(vectors)


def plain(folder: Path, *adapters: Path) -> Any:
    model: Any = AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    for place in adapters:
        model = PeftModel.from_pretrained(model, str(place)).merge_and_unload()
    return model.eval()


def test_the_published_how_to(base: Path, tmp_path: Path) -> None:
    """MNTP by MetaLlama3.json on one's own JSON rows, then loading, encoding, and cosines; a
    supervised adapter over it.
    """
    rows = [{"text": f"{sentence} {number}"} for number in range(12) for sentence in SENTENCES]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    config = {
        # train_configs/mntp/MetaLlama3.json, but for model, data, sizes and place
        "model_name_or_path": str(base),
        "train_file": str(tmp_path / "train.json"),
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 32,
        "gradient_accumulation_steps": 1,
        "do_train": True,
        "do_eval": True,
        "max_seq_length": 32,
        "mask_token_type": "blank",
        "data_collator_type": "default",
        "mlm_probability": 0.2,
        "overwrite_output_dir": True,
        "output_dir": str(tmp_path / "out" / "mntp"),
        "evaluation_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 200,
        "stop_after_n_steps": 4,
        "lora_r": 16,
        "gradient_checkpointing": True,
        "torch_dtype": "float32",
        "attn_implementation": "flash_attention_2",
    }
    (tmp_path / "MetaLlama3.json").write_text(json.dumps(config))
    done = CliRunner().invoke(app, ["train", str(tmp_path / "MetaLlama3.json")])
    assert done.exit_code == 0, done.output

    mntp = tmp_path / "out" / "mntp"
    l2v = LLM2Vec.from_pretrained(
        str(base),
        peft_model_name_or_path=str(mntp),
        device_map="cuda" if torch.cuda.is_available() else "cpu",
        torch_dtype=torch.float32,
        pooling_mode="mean",
        max_length=512,
    )
    q_reps, d_reps = l2v.encode(QUERIES), l2v.encode(DOCUMENTS)
    q_norm, d_norm = (torch.nn.functional.normalize(reps, p=2, dim=1) for reps in (q_reps, d_reps))
    cosines = torch.mm(q_norm, d_norm.transpose(0, 1))
    assert cosines.shape == (2, 4)
    assert (q_reps.device.type, q_reps.dtype) == ("cpu", torch.float32)
    first = mntp / "adapters" / "1-mntp"
    torch.testing.assert_close(q_reps, authors_way(plain(base, first), base, QUERIES), atol=2e-5, rtol=0)
    torch.testing.assert_close(d_reps, authors_way(plain(base, first), base, DOCUMENTS), atol=2e-5, rtol=0)
    assert (q_reps - authors_way(plain(base), base, QUERIES)).abs().max() > 1e-5  # the adapter counts

    # the encoder that the run left gives the same, as pairs too
    whole = bw.load(mntp, dtype="float32", device="cpu")
    assert np.abs(whole.encode(QUERIES) - q_reps.numpy()).max() < 2e-5

    # step two over it: peft_model_name_or_path goes on from the first
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"query": t, "positive": t, "negative": "no"}) + "\n" for t in SENTENCES)
    )
    supervised = {key: config[key] for key in ("model_name_or_path", "torch_dtype", "lora_r", "stop_after_n_steps", "do_train")}
    supervised |= {"peft_model_name_or_path": str(mntp), "bidirectional": True, "pooling_mode": "mean", "dataset_name": "E5"}
    supervised |= {"dataset_file_path": "unused", "learning_rate": 2e-3, "per_device_train_batch_size": 4, "max_seq_length": 96}
    (tmp_path / "supervised.json").write_text(json.dumps(supervised))
    out = tmp_path / "out" / "supervised"
    arguments = ["train", str(tmp_path / "supervised.json"), "--data", str(tmp_path / "rows.jsonl"), "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    expected = authors_way(plain(base, first, out / "adapters" / "1-supervised"), base, QUERIES)
    for start in (base, mntp, first):  # the base, the MNTP encoder, or the MNTP adapter, as the published models are loaded
        found = LLM2Vec.from_pretrained(str(start), peft_model_name_or_path=str(out)).encode(QUERIES)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    assert (expected - q_reps).abs().max() > 1e-4
    # saved with another pooling, and read again
    other = LLM2Vec.from_pretrained(base, peft_model_name_or_path=out, pooling_mode="last_token")
    other.save(tmp_path / "other")
    again = LLM2Vec.from_pretrained(base, peft_model_name_or_path=tmp_path / "other")
    assert torch.equal(again.encode(QUERIES), other.encode(QUERIES))
    assert (again.encode(QUERIES) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("bidirectional", [True, False])
def test_two_adapters_of_peft(base: Path, tmp_path: Path, bidirectional: bool) -> None:
    first = adapter(AutoModel.from_pretrained(base), tmp_path / "mntp", 1)
    second = adapter(plain(base, first), tmp_path / "supervised", 2)
    AutoTokenizer.from_pretrained(base).save_pretrained(first)
    (first / "llm2vec_config.json").write_text(json.dumps({"pooling_mode": "mean", "max_length": 512}))
    for merge in (False, True):
        options = {"merge_peft": merge, "enable_bidirectional": bidirectional}
        l2v = LLM2Vec.from_pretrained(first, peft_model_name_or_path=second, **options)
        expected = authors_way(plain(base, first, second), base, QUERIES, causal=not bidirectional)
        torch.testing.assert_close(l2v.encode(QUERIES, show_progress_bar=False), expected, atol=2e-5, rtol=0)
        l2v.save(tmp_path / f"saved-{merge}")
        assert (tmp_path / f"saved-{merge}" / "model.safetensors").is_file() is merge
        settings = json.loads((tmp_path / f"saved-{merge}" / "llm2vec_config.json").read_text())
        assert settings == {"pooling_mode": "mean", "max_length": 512, "doc_max_length": 400, "skip_instruction": True}
        l2v.save(tmp_path / f"saved-{merge}", merge_before_save=merge)  # again, over what it has written
    again = LLM2Vec.from_pretrained(first, peft_model_name_or_path=tmp_path / "saved-False", enable_bidirectional=bidirectional)
    torch.testing.assert_close(again.encode(QUERIES), expected, atol=2e-5, rtol=0)
    merged = LLM2Vec.from_pretrained(tmp_path / "saved-True", enable_bidirectional=bidirectional)
    torch.testing.assert_close(merged.encode(QUERIES), expected, atol=2e-5, rtol=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="mine: already exists"):
        l2v.save(tmp_path / "mine")


def test_what_encode_takes_and_gives(base: Path) -> None:
    l2v = LLM2Vec.from_pretrained(base)
    texts = l2v.encode(["a cat", "a dog"])
    assert torch.equal(texts, l2v.encode([["", "a cat"], ("", "a dog")]))
    assert torch.equal(texts, l2v.encode(["a cat \n", "a dog"], convert_to_tensor=True, convert_to_numpy=True))
    assert torch.equal(texts[:1], l2v.encode("a cat"))
    assert isinstance(l2v.encode(["a cat"], convert_to_numpy=True), np.ndarray)
    assert torch.equal(l2v.encode(["find", "a cat", 0]), l2v.encode([["find", "a cat"]]))
    assert torch.equal(l2v.encode([[" find\n", "a cat"]]), l2v.encode([["find", "a cat"]]))
    assert l2v.encode([], batch_size=8, device="cpu").shape == (0, 32)
    assert l2v.forward(QUERIES).requires_grad
    for wrong in ([["a"]], [3], [["a", None]], [None]):
        with pytest.raises(InputError, match=r"sentences\[0\]: must be a string or a pair"):
            l2v.encode(wrong)
    assert (l2v.pooling_mode, l2v.max_length, l2v.doc_max_length, l2v.skip_instruction) == ("mean", 512, 400, True)
    assert l2v.config.model_type == "llama"
    assert l2v.model is l2v.encoder.backbone
    assert l2v.tokenizer is l2v.encoder.tokenizer


def test_a_text_has_doc_max_length_tokens_at_most(base: Path) -> None:
    l2v = LLM2Vec.from_pretrained(base, doc_max_length=20, max_length=64)
    tokenizer = l2v.tokenizer
    long = " ".join(SENTENCES[:3])
    count = lambda text: min(64, len(tokenizer(text, add_special_tokens=False)["input_ids"]))  # noqa: E731
    words = long.split()
    while count(" ".join(words)) > 20:
        words = words[: int(len(words) * (20 / count(" ".join(words))))]
    assert 0 < len(words) < len(long.split())
    assert torch.equal(l2v.encode([long]), l2v.encode([" ".join(words)]))
    assert torch.equal(l2v.encode([["Find:", long]]), l2v.encode([["Find:", " ".join(words)]]))
    # without white space LLM2Vec leaves nothing of the text
    chinese = "今日は天気がいいから散歩しましょう。" * 20
    assert not torch.equal(l2v.encode([chinese]), l2v.encode([""]))


@pytest.mark.parametrize("mode", ["mean", "weighted_mean", "eos_token", "last_token", "bos_token"])
def test_pooling_modes(base: Path, mode: str) -> None:
    l2v = LLM2Vec.from_pretrained(base, pooling_mode=mode)
    model, tokenizer = plain(base), AutoTokenizer.from_pretrained(base)
    ids = tokenizer(f"{BEFORE}Find: a cat{AFTER}", return_tensors="pt")["input_ids"]
    kept = len(tokenizer(f"a cat{AFTER}", add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=torch.zeros(1, 1, ids.shape[1], ids.shape[1])).last_hidden_state[0]
    weights = torch.arange(1, kept + 1)[:, None]
    expected = {
        "mean": states[-kept:].mean(0),
        "weighted_mean": (states[-kept:] * weights).sum(0) / weights.sum(),
        "bos_token": states[0],
    }.get(mode, states[-1])
    torch.testing.assert_close(l2v.encode([["Find:", "a cat"]])[0], expected, atol=2e-5, rtol=0)


def test_instructions_are_pooled_on_request(base: Path) -> None:
    l2v = LLM2Vec.from_pretrained(base, skip_instruction=False)
    ids = l2v.tokenizer(f"{BEFORE}Find: a cat{AFTER}", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        model = plain(base)
        states = model(input_ids=ids, attention_mask=torch.zeros(1, 1, ids.shape[1], ids.shape[1])).last_hidden_state[0]
    torch.testing.assert_close(l2v.encode([["Find:", "a cat"]])[0], states.mean(0), atol=2e-5, rtol=0)
