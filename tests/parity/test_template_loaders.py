"""Templates and last-token means in the hands of sentence-transformers, on a machine without
bothways; and back in ours.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.backbone.adapter.new_tokens import add_tokens
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder import template_module
from bothways.errors import InputError
from bothways.recipes.llara import FORMS
from tiny import SENTENCES, tiny_llama
from warm import without_bothways

TEXTS = [
    *SENTENCES,
    "x",
    "",
    "今日は" * 30,
    "a longer text, far longer than the others: " * 20,
    'ends with a quote."',
    "{text} <s3>",
]
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
        found[f"query {side} {size}"] = model.encode_query(texts, batch_size=size)
        found[f"document {side} {size}"] = model.encode_document(texts, batch_size=size)
        found[f"default {side} {size}"] = model.encode(texts, batch_size=size)
        found[f"plain {side} {size}"] = model.encode(texts[:9], prompt="find: ", batch_size=size)
assert model.get_embedding_dimension() == found["query left 1"].shape[1]
model.tokenizer.padding_side = "right"
model.save_pretrained(out + ".model")
again = SentenceTransformer(out + ".model", device="cpu", trust_remote_code=True, model_kwargs={"dtype": torch.float32})
found["query again"] = again.encode_query(texts)
np.savez(out, **found)
"""


def encoder_of(folder: Path, mode: str, pooling: Any = None, **tokenizer: Any) -> Encoder:
    form = FORMS[mode]
    base = tiny_llama(folder / "base", tokenizer={"add_bos": True, **tokenizer})
    encoder = bw.convert(
        base,
        direction="causal",
        pooling=pooling or form.pooling,
        dtype="float32",
        device="cpu",
        max_length=96,
        prompts=form.prompts,
        default_prompt="document",
    )
    add_tokens(encoder.backbone, encoder.tokenizer, form.new_tokens or ())
    return encoder


def elsewhere(folder: Path, tmp_path: Path, *, trust: bool) -> subprocess.CompletedProcess[str]:
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS), encoding="utf-8")
    command = [str(folder), "trust" if trust else "no", str(tmp_path / "found.npz"), str(tmp_path / "texts.json")]
    return without_bothways(OTHER_MACHINE, command)


@pytest.mark.parametrize("mode", FORMS)
@pytest.mark.parametrize("added", [{}, {"add_eos": True}], ids=["", "eos"])
def test_sentence_transformers_without_bothways(tmp_path, mode, added):
    encoder = encoder_of(tmp_path, mode, **added)
    encoder.save(tmp_path / "out")
    expected = {
        "query": encoder.encode_query(TEXTS),
        "document": encoder.encode_document(TEXTS),
        "default": encoder.encode(TEXTS),
        "plain": encoder.encode(TEXTS[:9], prompt="find: "),
    }
    assert max(len(row.ids) for row in encoder.tokenize(TEXTS, prompt=encoder.prompts["query"])) == 96, "nothing was cut"
    assert np.abs(expected["query"] - expected["document"]).max() > 0.1, (
        "the sides must differ, or mixing them up would not show"
    )
    done = elsewhere(tmp_path / "out", tmp_path, trust=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "found.npz") as found:
        assert len(found.files) == 17
        for name in found.files:
            np.testing.assert_allclose(found[name], expected[name.split()[0]], atol=1e-4, rtol=1e-4, err_msg=name)


def test_mean_pooling_leaves_out_what_stands_before_the_text(tmp_path):
    encoder = encoder_of(tmp_path, "code", pooling="mean")
    encoder.save(tmp_path / "out")
    done = elsewhere(tmp_path / "out", tmp_path, trust=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_allclose(found["query right 1"][:8], encoder.encode_query(TEXTS[:8]), atol=1e-4, rtol=1e-4)


def test_untrusted_code_is_refused_by_sentence_transformers(tmp_path):
    encoder_of(tmp_path, "code").save(tmp_path / "out")
    done = elsewhere(tmp_path / "out", tmp_path, trust=False)
    assert done.returncode != 0 and not (tmp_path / "found.npz").exists()
    assert "'prompt_templates.TemplateTransformer'" in done.stderr and "trust_remote_code=True" in done.stderr


@pytest.mark.parametrize("mode", FORMS)
def test_ours_reads_it_back_bit_by_bit(tmp_path, mode):
    encoder = encoder_of(tmp_path, mode)
    encoder.save(tmp_path / "one")
    again = bw.load(tmp_path / "one", dtype="float32", device="cpu")
    again.save(tmp_path / "two")
    other = bw.load(tmp_path / "two", dtype="float32", device="cpu")
    for loaded in (again, other):
        assert np.array_equal(loaded.encode_query(TEXTS), encoder.encode_query(TEXTS))
        assert np.array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))
        assert loaded.options == encoder.options and repr(loaded.pooling) == repr(encoder.pooling)
    code = template_module.CODE.name
    assert (tmp_path / "one" / code).read_bytes() == (tmp_path / "two" / code).read_bytes() == template_module.CODE.read_bytes()
    card = (tmp_path / "one" / "README.md").read_text()
    assert 'SentenceTransformer("this folder", trust_remote_code=True)' in card
    notes = json.loads((tmp_path / "one" / "bothways.json").read_text())["loader_notes"]
    assert any("are templates around the text" in note for note in notes)
    assert (mode == "code") == any("mean of the last 8 states" in note for note in notes)
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    assert ("pooling" in config) == (mode == "paper"), "vLLM must not average what is no average"


def test_damaged_and_foreign_folders_are_refused_in_one_line(tmp_path):
    encoder_of(tmp_path, "code").save(tmp_path / "out")
    settings = tmp_path / "out" / "1_LastTokens" / "config.json"
    good = settings.read_text()
    for text, message in ((good.replace("8", "0"), "tokens: Input should be greater"), ("{", "cannot be read as JSON")):
        settings.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            bw.load(tmp_path / "out", device="cpu")
        assert "\n" not in str(caught.value)
    settings.write_text(good)
    modules = tmp_path / "out" / "modules.json"
    text = modules.read_text()
    modules.write_text(text.replace("prompt_templates.Template", "sentence_transformers.models."))
    with pytest.raises(InputError, match=r"the prompt 'query' holds {text}, which sentence-transformers keeps as it is"):
        bw.load(tmp_path / "out", device="cpu")
    modules.write_text(text.replace("prompt_templates.LastTokens", "somebody.LastTokens"))
    with pytest.raises(InputError, match=r"somebody\.LastTokens is the author's code, which is never run"):
        bw.load(tmp_path / "out", device="cpu")
