"""An encoder with a trained pooling in the hands of sentence-transformers, on a machine without
bothways; and back in ours.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.pooling import attention_pooling
from bothways.pooling.attention_pooling import AttentionPooling
from tiny import SENTENCES, tiny_llama
from warm import without_bothways

TEXTS = [*SENTENCES, "x", "今日は" * 30, "a longer text, far longer than the others: " * 6]
LATENT = {"mode": "latent_attention", "latents": 6, "heads": 2, "head_width": 8}
SELF = {"mode": "self_attention", "heads": 2, "head_width": 8}
PAPER = {"mode": "latent_attention", "latents": 6, "heads": 4, "form": "paper"}
POOLINGS = {"latent": LATENT, "paper": PAPER, "self": SELF}
OTHER_MACHINE = """
import json, sys
import numpy as np, torch
from sentence_transformers import SentenceTransformer
folder, trust, out = sys.argv[1], sys.argv[2] == "trust", sys.argv[3]
texts = json.load(open(sys.argv[4], encoding="utf-8"))
model = SentenceTransformer(folder, device="cpu", trust_remote_code=trust, model_kwargs={"dtype": torch.float32})
found = {}
for side in ("right", "left"):
    model.tokenizer.padding_side = side
    for size in (1, len(texts)):
        found[f"{side} {size}"] = model.encode(texts, batch_size=size)
        found[f"{side} {size} query"] = model.encode(texts, prompt_name="query", batch_size=size)
found["side of the query"] = model.encode_query(texts)
found["side of the document"] = model.encode_document(texts)
found["cut"] = model.encode(texts, truncate_dim=8)
short = SentenceTransformer(
    folder, device="cpu", trust_remote_code=trust, model_kwargs={"dtype": torch.float32}, truncate_dim=8
)
found["cut from the start"], found["cut query"] = short.encode(texts), short.encode_query(texts)
assert model.get_embedding_dimension() == found["left 1"].shape[1]
model.tokenizer.padding_side = "right"
model.save_pretrained(out + ".model")
again = SentenceTransformer(out + ".model", device="cpu", trust_remote_code=True, model_kwargs={"dtype": torch.float32})
found["saved again"] = again.encode(texts)
np.savez(out, **found)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True, "add_eos": True})


def encoder_of(base: Path, kind: str, **options: Any) -> Encoder:
    encoder = bw.convert(base, pooling=POOLINGS[kind], dtype="float32", device="cpu", seed=3, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # as if trained: neither norms nor biases at their neutral start
        for parameter in encoder.pooling.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return encoder


def elsewhere(folder: Path, tmp_path: Path, *, trust: bool) -> subprocess.CompletedProcess[str]:
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS), encoding="utf-8")
    command = [str(folder), "trust" if trust else "no", str(tmp_path / "found.npz"), str(tmp_path / "texts.json")]
    return without_bothways(OTHER_MACHINE, command)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


@pytest.mark.parametrize("kind", POOLINGS)
def test_sentence_transformers_without_bothways(base: Path, tmp_path: Path, kind: str) -> None:
    encoder = encoder_of(base, kind, prompts={"query": "find:", "document": "text:"})
    encoder.save(tmp_path / "out")
    ours, queries = encoder.encode(TEXTS), encoder.encode(TEXTS, prompt_name="query")
    expected = {
        "side of the query": encoder.encode_query(TEXTS),
        "side of the document": encoder.encode_document(TEXTS),
        "cut": encoder.encode(TEXTS, truncate_dim=8),
        "cut from the start": encoder.encode(TEXTS, truncate_dim=8),
        "cut query": encoder.encode_query(TEXTS, truncate_dim=8),
    }
    assert np.array_equal(expected["side of the query"], queries)
    for other in (queries, expected["side of the document"]):
        assert cosine(ours, other) < 0.999, "the prompt must matter, or leaving it out of the pool would not show"
    done = elsewhere(tmp_path / "out", tmp_path, trust=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "found.npz") as found:
        assert len(found.files) == 14
        for name in found.files:
            right = expected.get(name, queries if name.endswith("query") else ours)
            assert found[name].shape == right.shape
            assert cosine(found[name], right) >= 0.9999, name
            np.testing.assert_allclose(found[name], right, atol=1e-4, rtol=1e-4, err_msg=name)


def test_what_stock_poolings_would_count_wrongly(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Recipe nv_embed: a template that ends in a blank, whose last token the text takes, and a BOS
    that is seen and not pooled.
    """
    template = "Instruct: find it\nQuery: "
    stored = {"query": template, "document": "\n", "other": "Instruct: find me\nQuery: "}
    encoder = encoder_of(base, "latent", prompts=stored, pool_bos=False)
    bos, *_ = encoder.tokenize(["a"])[0].ids
    assert bos == encoder.tokenizer.bos_token_id and not encoder.tokenize(["a"])[0].pool[0]
    row = encoder.tokenize([(template, "text")])[0]
    alone = encoder.tokenizer(template, add_special_tokens=False)["input_ids"]
    assert row.pool.index(True) < 1 + len(alone), "the blank must merge, or this shows nothing"
    encoder.save(tmp_path / "out")
    assert "merges with the text" not in caplog.text and "BOS is left out" not in caplog.text
    done = elsewhere(tmp_path / "out", tmp_path, trust=True)
    assert done.returncode == 0, done.stderr[-2000:]
    queries = encoder.encode_query(TEXTS)
    with np.load(tmp_path / "found.npz") as found:
        for name in found.files:
            if not name.startswith("cut"):
                right = queries if name.endswith("query") else encoder.encode(TEXTS)
                right = encoder.encode_document(TEXTS) if name.endswith("document") else right
                np.testing.assert_allclose(found[name], right, atol=1e-4, rtol=1e-4, err_msg=name)


def test_untrusted_code_is_refused_by_sentence_transformers(base: Path, tmp_path: Path) -> None:
    encoder_of(base, "latent").save(tmp_path / "out")
    done = elsewhere(tmp_path / "out", tmp_path, trust=False)
    assert done.returncode != 0
    assert not (tmp_path / "found.npz").exists()
    assert "'attention_pooling.AttentionPooling'" in done.stderr
    assert "trust_remote_code=True" in done.stderr


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("normalize", [False, True])
def test_ours_reads_it_back_bit_by_bit(base: Path, tmp_path: Path, kind: str, normalize: bool) -> None:
    options = {"normalize": normalize, "pool_bos": False, "prompts": {"query": "find:"}}
    encoder = encoder_of(base, kind, **options)
    encoder.save(tmp_path / "one")
    again = bw.load(tmp_path / "one", dtype="float32", device="cpu")
    again.save(tmp_path / "two")
    for other in (again, bw.load(tmp_path / "two", dtype="float32", device="cpu")):
        assert np.array_equal(other.encode(TEXTS), encoder.encode(TEXTS))
        assert np.array_equal(other.encode_query(TEXTS), encoder.encode_query(TEXTS))
        assert other.options == encoder.options
        assert other.pooling.settings == encoder.pooling.settings
        assert all(torch.equal(a, b) for a, b in zip(other.pooling.parameters(), encoder.pooling.parameters()))
    for file in (
        "1_AttentionPooling/model.safetensors",
        "1_AttentionPooling/config.json",
        "attention_pooling.py",
        "modules.json",
    ):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert (tmp_path / "one" / "attention_pooling.py").read_bytes() == Path(attention_pooling.__file__).read_bytes()
    card = (tmp_path / "one" / "README.md").read_text()
    assert 'SentenceTransformer("this folder", trust_remote_code=True)' in card
    assert "needs trust_remote_code=True" in json.loads((tmp_path / "one" / "bothways.json").read_text())["loader_notes"][0]


def test_a_bfloat16_encoder_keeps_its_float32_pooling(base: Path, tmp_path: Path) -> None:
    encoder = bw.convert(base, pooling=LATENT, dtype="bfloat16", device="cpu")
    for name, dtype in (("own", None), ("asked", "bfloat16")):
        encoder.save(tmp_path / name, dtype=dtype)
        stored = load_file(tmp_path / name / "1_AttentionPooling" / "model.safetensors")
        assert all(torch.equal(stored[key], value) for key, value in encoder.pooling.state_dict().items())
        assert np.array_equal(bw.load(tmp_path / name, dtype="bfloat16", device="cpu").encode(TEXTS), encoder.encode(TEXTS))


@pytest.mark.parametrize("kind", POOLINGS)
def test_alone_and_packed(base: Path, kind: str) -> None:
    for dtype, bound in (("float32", 1e-5), ("bfloat16", None)):
        encoder = encoder_of(base, kind)
        encoder.backbone.to(getattr(torch, dtype))
        together = encoder.encode(TEXTS)
        alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
        assert cosine(alone, together) >= 0.9999
        if bound is not None:
            assert np.abs(alone - together).max() < bound * np.abs(together).max()
    assert bw.doctor(encoder_of(base, kind), quick=True).ok


def test_a_stale_vllm_field_is_taken_out(base: Path, tmp_path: Path) -> None:
    mean = bw.convert(base, dtype="float32", device="cpu")
    mean.save(tmp_path / "mean")
    assert json.loads((tmp_path / "mean" / "config.json").read_text())["pooling"] == "avg"
    encoder = bw.load(tmp_path / "mean", dtype="float32", device="cpu")
    encoder.pooling = encoder_of(base, "latent").pooling
    encoder.save(tmp_path / "latent")
    assert "pooling" not in json.loads((tmp_path / "latent" / "config.json").read_text())
    assert encoder.backbone.config.pooling == "avg"  # in memory it is as it was


def test_damaged_folders_are_refused_in_one_line(base: Path, tmp_path: Path) -> None:
    encoder_of(base, "latent").save(tmp_path / "out")
    place = tmp_path / "out" / "1_AttentionPooling"
    config, tensors = json.loads((place / "config.json").read_text()), load_file(place / "model.safetensors")
    for changes, message in (
        ({"width": 64}, "width is 64, but the model's states have 32"),
        ({"latents": 7}, "tensors do not fit the sizes in config.json"),
        ({"mode": "mean"}, "mode: Input should be 'latent_attention' or 'self_attention'"),
        ({"latent": 7}, "unknown key 'latent'; did you mean 'latents'"),
    ):
        (place / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(InputError, match=message) as caught:
            bw.load(tmp_path / "out", device="cpu")
        assert "\n" not in str(caught.value)
    (place / "config.json").write_text(json.dumps(config))
    save_file({name: value for name, value in tensors.items() if "latents" not in name}, place / "model.safetensors")
    with pytest.raises(InputError, match="tensors do not fit"):
        bw.load(tmp_path / "out", device="cpu")
    (place / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"1_AttentionPooling/model\.safetensors: cannot be read as tensors"):
        bw.load(tmp_path / "out", device="cpu")
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    modules[1]["type"] = "somebody.AttentionPooling"
    (tmp_path / "out" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match="modules Transformer, AttentionPooling cannot be read"):
        bw.load(tmp_path / "out", device="cpu")


@pytest.mark.parametrize("kind", POOLINGS)
def test_rows_that_were_never_padded(kind: str) -> None:
    """FlashAttention's flattened rows give the vectors of a padded batch; a text that is all prompt
    gets zeros, as in stock pooling.
    """
    torch.manual_seed(0)
    sizes = {key: value for key, value in POOLINGS[kind].items()}
    module = AttentionPooling(16, **{**sizes, "head_width": None})
    lengths = [3, 5, 2, 4]
    padded, mask = torch.zeros(4, 5, 16), torch.zeros(4, 5, dtype=torch.int64)
    for row, length in enumerate(lengths):
        padded[row, :length], mask[row, :length] = torch.randn(length, 16), 1
    flat = padded[mask.bool()][None]
    bounds = torch.tensor([0, 3, 8, 10, 14], dtype=torch.int32)
    for prompt in ({}, {"prompt_length": 2}, {"prompt_length": torch.tensor([2])}):
        one = module({"token_embeddings": padded, "attention_mask": mask, **prompt})["sentence_embedding"]
        other = module({"token_embeddings": flat, "cu_seq_lens_q": bounds, **prompt})["sentence_embedding"]
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
        assert bool((one[2] == 0).all()) == bool(prompt)
    everything = module({"token_embeddings": padded, "attention_mask": mask, "prompt_length": 9})["sentence_embedding"]
    assert not everything.any()
    unmasked = module({"token_embeddings": padded[1:2]})["sentence_embedding"]
    torch.testing.assert_close(
        unmasked, module({"token_embeddings": padded, "attention_mask": mask})["sentence_embedding"][1:2], atol=1e-6, rtol=1e-6
    )


def test_what_the_module_s_file_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="mode: must be 'latent_attention' or 'self_attention'"):
        AttentionPooling(16, mode="mean")
    with pytest.raises(ValueError, match="form: must be 'code' or 'paper'"):
        AttentionPooling(16, form="mean")
    with pytest.raises(ValueError, match="form 'paper' divides the width 16 among its heads"):
        AttentionPooling(16, heads=5, form="paper")
