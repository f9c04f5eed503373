"""Published encoders with sliding windows give their own vectors at every length: loaded, saved,
and loaded again by anybody.
"""

import json

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModel,
    Gemma2Config,
    Gemma3TextConfig,
    MistralConfig,
    ModernBertDecoderConfig,
    Qwen3Config,
)

import bothways as bw
from bothways.attention.drawn import Reach, drawn
from bothways.encoder.proof.doctor import doctor
from tiny import TINY, tiny_model

WORDS = "A cat sits on the warm window sill and watches the rain while the river runs from the old mountain to the sea. "
TEXTS = ["A cat sits.", WORDS[:60], WORDS, WORDS * 4]

SLIDING = ["sliding_attention", "full_attention"]
OWN = {"use_bidirectional_attention": True}
BOTH = {"use_bidirectional_attention": True, "is_causal": False}
FLAG = {"is_causal": False}
GEMMA3 = (Gemma3TextConfig, {**TINY, "head_dim": 8, "sliding_window": 8, "layer_types": SLIDING})
SPECIAL = {"cls_token_id": 0, "sep_token_id": 1}
DECODER = {key: value for key, value in TINY.items() if key not in ("num_key_value_heads", "num_hidden_layers")}
FOLDERS = {
    "gemma3, its own switch": (*GEMMA3, OWN),
    "gemma3, is_causal": (*GEMMA3, FLAG),
    "gemma3, both": (*GEMMA3, BOTH),
    "gemma3, causal": (*GEMMA3, {}),
    "gemma3, an odd window": (GEMMA3[0], {**GEMMA3[1], "sliding_window": 9}, OWN),
    "gemma2": (Gemma2Config, {**TINY, "head_dim": 8, "sliding_window": 8, "layer_types": SLIDING}, BOTH),
    "mistral": (MistralConfig, {**TINY, "sliding_window": 8}, FLAG),
    "mistral, causal": (MistralConfig, {**TINY, "sliding_window": 8}, {}),
    "qwen3, a switch without effect": (Qwen3Config, {**TINY, "head_dim": 8}, OWN),
    "modernbert-decoder": (ModernBertDecoderConfig, {**DECODER, "num_hidden_layers": 4, "local_attention": 8, **SPECIAL}, FLAG),
}


def publish(folder, kind, fields, switch):
    tiny_model(folder, kind, auto=AutoModel, **fields)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **switch}))
    types = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(zip(paths, types))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    )
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512}))
    return folder


def stock_vectors(folder, texts):
    """Plain sentence-transformers, one text at a time and in one batch, which must agree with each
    other.
    """
    model = SentenceTransformer(str(folder), device="cpu")
    alone = torch.stack([torch.as_tensor(model.encode(text)) for text in texts])
    together = torch.as_tensor(model.encode(texts))
    torch.testing.assert_close(alone, together, atol=2e-6, rtol=0)
    return together


@pytest.mark.parametrize("name", FOLDERS)
def test_vectors_of_a_published_folder_at_every_length(tmp_path, name):
    folder = publish(tmp_path / "published", *FOLDERS[name])
    wanted = stock_vectors(folder, TEXTS)
    encoder = bw.load(folder, dtype="float32", device="cpu")
    assert len(encoder.tokenize([TEXTS[-1]])[0].ids) > 100
    torch.testing.assert_close(torch.as_tensor(encoder.encode(TEXTS)), wanted, atol=1e-6, rtol=0)
    encoder.save(tmp_path / "saved")
    torch.testing.assert_close(stock_vectors(tmp_path / "saved", TEXTS), wanted, atol=1e-6, rtol=0)
    again = bw.load(tmp_path / "saved", dtype="float32", device="cpu")
    torch.testing.assert_close(torch.as_tensor(again.encode(TEXTS)), wanted, atol=1e-6, rtol=0)
    plain = [drawn(AutoModel.from_pretrained(place)) for place in (folder, tmp_path / "saved")]
    assert plain[0] == plain[1]
    again.save(tmp_path / "twice")
    assert (tmp_path / "twice" / "config.json").read_text() == (tmp_path / "saved" / "config.json").read_text()


def on_disk(encoder):
    return next(check for check in doctor(encoder, quick=True) if check.name == "on disk")


@pytest.mark.parametrize("name", ["gemma3, its own switch", "mistral", "modernbert-decoder"])
def test_the_doctor_compares_with_the_folder_on_disk(tmp_path, name):
    encoder = bw.load(publish(tmp_path / "published", *FOLDERS[name]), dtype="float32", device="cpu")
    check = on_disk(encoder)
    assert check.passed and "the smallest window is" in check.sentence, check
    encoder.backbone.config.sliding_window += 1  # what loading once did to Gemma 3
    check = on_disk(encoder)
    assert not check.passed and "gives other vectors" in check.sentence


def test_the_doctor_says_when_it_cannot_compare(tmp_path, monkeypatch):
    from bothways.encoder.proof import disk

    folder = publish(tmp_path / "published", *FOLDERS["mistral"])
    encoder = bw.load(folder, dtype="float32", device="cpu")
    monkeypatch.setattr(disk, "LONGEST", 8)
    assert "no text longer than its window of 8 tokens" in on_disk(encoder).sentence
    monkeypatch.setattr(disk, "_available", lambda encoder: 1000)
    assert "not compared: a second copy" in on_disk(encoder).sentence
    monkeypatch.undo()
    with torch.no_grad():
        next(encoder.backbone.parameters()).add_(1)
    assert "differ from those in the folder" in on_disk(encoder).sentence


def test_the_switch_of_gemma_3_is_written_as_published(tmp_path):
    folder = publish(tmp_path / "published", *GEMMA3, OWN)
    bw.load(folder, dtype="float32", device="cpu").save(tmp_path / "saved")
    written = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (written["sliding_window"], written["use_bidirectional_attention"]) == (8, True)
    assert "is_causal" not in written


def test_reach_is_read_off_the_masks():
    fields = {**GEMMA3[1], "vocab_size": 99}
    reaches = {
        name: drawn(AutoModel.from_config(Gemma3TextConfig(**fields, **switch)))
        for name, switch in (("own", OWN), ("flag", FLAG), ("both", BOTH), ("causal", {}))
    }
    everything = Reach(None, None)
    assert reaches == {
        "own": (everything, Reach(4, 4)),
        "flag": (everything, Reach(8, 8)),
        "both": (everything, Reach(5, 5)),
        "causal": (Reach(None, 0), Reach(7, 0)),
    }


def test_a_gemma_3_encoder_becomes_causal_with_the_window_of_its_base(tmp_path):
    from bothways.attention.direction import set_direction

    model = bw.load(publish(tmp_path / "published", *GEMMA3, OWN), dtype="float32", device="cpu").backbone
    set_direction(model, "causal")
    assert drawn(model) == (Reach(None, 0), Reach(7, 0))
    assert not model.config.use_bidirectional_attention
