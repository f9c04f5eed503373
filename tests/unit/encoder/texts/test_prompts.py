"""Which stored prompt a call means: the same one as in sentence-transformers 6, for every folder
and every call.
"""

import json

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import bothways as bw
from bothways.encoder.texts import prompts
from bothways.errors import InputError
from tiny import tiny_llama

TEXTS = ["A cat sits on the sill.", "Read each line."]
Q, D, P, C = "Find: ", "Text:", "Passage:", "Corpus:"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An encoder's folder that pools prompts, as most published ones do, without our own file."""
    place = tmp_path_factory.mktemp("prompts")
    encoder = bw.convert(tiny_llama(place / "base"), dtype="float32", device="cpu")
    encoder.options.pool_prompt = True
    encoder.save(place / "saved")
    (place / "saved" / "bothways.json").unlink()
    return place / "saved"


def published(saved, **settings):
    file = saved / "config_sentence_transformers.json"
    file.write_text(json.dumps({"model_type": "SentenceTransformer", **settings}))
    return saved


STORED = {
    "no key": {},
    "none": {"prompts": {}},
    "query and empty document": {"prompts": {"query": Q, "document": ""}, "default_prompt_name": "query"},
    "default document": {"prompts": {"query": Q, "document": ""}, "default_prompt_name": "document"},
    "query alone, the default": {"prompts": {"query": Q}, "default_prompt_name": "query"},
    "another default": {"prompts": {"any": Q}, "default_prompt_name": "any"},
    "passage": {"prompts": {"query": Q, "passage": P}},
    "passage, the default": {"prompts": {"query": Q, "passage": P}, "default_prompt_name": "passage"},
    "corpus": {"prompts": {"corpus": C}},
    "document and passage": {"prompts": {"document": D, "passage": P, "corpus": C}, "default_prompt_name": "corpus"},
    "null": {"prompts": {"query": None, "document": D}, "default_prompt_name": "query"},
}
CALLS = {
    "encode": lambda model: model.encode(TEXTS),
    "query": lambda model: model.encode_query(TEXTS),
    "document": lambda model: model.encode_document(TEXTS),
    "empty prompt": lambda model: model.encode_document(TEXTS, prompt=""),
    "prompt": lambda model: model.encode_query(TEXTS, prompt="Own: "),
    "both": lambda model: model.encode(TEXTS, prompt="Own: ", prompt_name="query"),
    **{f"by name {name}": lambda model, name=name: model.encode(TEXTS, prompt_name=name) for name in ("query", "document")},
    "by name passage": lambda model: model.encode_document(TEXTS, prompt_name="passage"),
}


@pytest.mark.parametrize("name", STORED)
def test_every_call_means_the_prompt_that_sentence_transformers_means(saved, name, tmp_path):
    folder = published(saved, **STORED[name])
    theirs, ours = SentenceTransformer(str(folder), device="cpu"), bw.load(folder, dtype="float32", device="cpu")
    ours.save(tmp_path / "again")
    again = SentenceTransformer(str(tmp_path / "again"), device="cpu")
    for what, call in CALLS.items():
        try:
            wanted = call(theirs)
        except ValueError as error:
            assert "not found" in str(error)
            for model, kind in ((ours, InputError), (again, ValueError)):
                with pytest.raises(kind):
                    call(model)
            continue
        for model in (ours, again):
            assert np.abs(call(model) - wanted).max() < 1e-5, what


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"default_prompt_name": "ask"}, "default_prompt_name 'ask' is not the name of a prompt"),
        ({"prompts": {"query": 3}}, r"prompts.query must be a string \(got int\)"),
        ({"prompts": ["query"]}, "prompts must be an object"),
        ({"prompts": {"query": ["a"]}, "default_prompt_name": ["query"]}, "must be a string"),
        ({"default_prompt_name": ["query"]}, "default_prompt_name"),
    ],
)
def test_settings_without_a_meaning_are_refused(saved, settings, words):
    with pytest.raises(InputError, match=words):
        bw.load(published(saved, **settings), dtype="float32", device="cpu")


def test_roles_of_an_encoder_made_here_take_the_default_in_every_loader(tmp_path):
    stored = {"text": D, "query": Q}
    base = tiny_llama(tmp_path / "base")
    encoder = bw.convert(base, dtype="float32", device="cpu", prompts=stored, default_prompt="text")
    encoder.save(tmp_path / "saved")
    again = bw.load(tmp_path / "saved", dtype="float32", device="cpu")
    assert again.prompts == stored
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    for model in (again, theirs):
        assert np.abs(model.encode_document(TEXTS) - encoder.encode(TEXTS, prompt=D)).max() < 1e-5
    assert prompts.implied({"passage": P}, None) == {"document": P}
    assert prompts.implied(stored, None) == {}
