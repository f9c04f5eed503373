"""Teachers: folders of ours and of sentence-transformers, functions, their fingerprints, refusals."""

from __future__ import annotations

import importlib
import linecache
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.errors import InputError, SourceError
from bothways.objectives.teacher.teacher_config import TeacherConfig
from bothways.objectives.teacher.teacher_encoder import open_teacher
from bothways.objectives.teacher.vector_cache import teacher_vectors
from tiny import SENTENCES, tiny_llama

CPU = torch.device("cpu")


@pytest.fixture
def teacher(monkeypatch) -> types.ModuleType:
    """An importable module with a function that counts the texts it is asked for."""
    module = types.ModuleType("a_teacher")
    module.asked = []

    def encode(texts):
        module.asked += texts
        return np.array([[len(text), text.count("e"), 1.0] for text in texts])

    module.encode = encode
    monkeypatch.setitem(sys.modules, "a_teacher", module)
    return module


def config(folder: Path, **changes) -> TeacherConfig:
    return TeacherConfig(**{"encoder": "a_teacher:encode", "cache": str(folder), **changes})


def test_an_encoder_folder_is_a_teacher_and_other_weights_are_another_one(tmp_path):
    tiny_llama(tmp_path / "base")
    encoder = bw.convert(tmp_path / "base", dtype="float32")
    encoder.save(tmp_path / "one")
    asked = TeacherConfig(encoder=str(tmp_path / "one"), cache=str(tmp_path / "cache"))
    found = teacher_vectors(asked, [("", text) for text in SENTENCES], device=CPU)
    np.testing.assert_allclose(found.of([("", SENTENCES[0])])[0], encoder.encode(SENTENCES[0]), atol=1e-6)
    with torch.no_grad():
        next(encoder.backbone.parameters()).add_(0.1)
    encoder.save(tmp_path / "two")
    other = asked.model_copy(update={"encoder": str(tmp_path / "two")})
    teacher_vectors(other, [("", SENTENCES[0])], device=CPU)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_cached_teacher_need_not_be_opened(tmp_path, monkeypatch):
    tiny_llama(tmp_path / "base")
    bw.convert(tmp_path / "base", dtype="float32").save(tmp_path / "one")
    asked = TeacherConfig(encoder=str(tmp_path / "one"), cache=str(tmp_path / "cache"))
    first = teacher_vectors(asked, [("", "a text")], device=CPU)
    monkeypatch.setattr("bothways.objectives.teacher.teacher_encoder._encoder", None)
    assert torch.equal(teacher_vectors(asked, [("", "a text")], device=CPU).vectors, first.vectors)


def test_a_folder_states_how_its_vectors_are_compared(tmp_path, teacher):
    tiny_llama(tmp_path / "base")
    encoder = bw.convert(tmp_path / "base", dtype="float32")
    for kind in ("cosine", "dot"):
        encoder.options.similarity = kind
        encoder.save(tmp_path / kind)
        assert open_teacher(str(tmp_path / kind), device=CPU).similarity == kind
        asked = TeacherConfig(encoder=str(tmp_path / kind), cache=str(tmp_path / "cache"))
        assert teacher_vectors(asked, [("", "a")], device=CPU).similarity == kind
    asked = asked.model_copy(update={"similarity": "cosine"})
    found = teacher_vectors(asked, [("", "a")], device=CPU)
    assert found.similarity == found.joined(found).similarity == "cosine"
    teacher.encode.similarity_fn_name = "manhattan"
    assert open_teacher("a_teacher:encode", device=CPU).similarity == "manhattan"
    teacher.encode.similarity_fn_name = "nearness"
    with pytest.raises(InputError, match="similarity: 'nearness' is unknown"):
        open_teacher("a_teacher:encode", device=CPU)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:encode", "No module named 'no_such_module'; give MODULE:FUNCTION"),
        ("a_teacher:nothing", "has no attribute 'nothing'"),
        ("a_teacher:asked", "is not a function"),
    ],
)
def test_functions_that_do_not_exist_are_refused(tmp_path, teacher, name, message):
    with pytest.raises(InputError, match=message):
        teacher_vectors(config(tmp_path, encoder=name), [("", "a")], device=CPU)


def test_a_folder_that_ours_cannot_run_is_opened_by_sentence_transformers(tmp_path):
    from sentence_transformers import SentenceTransformer, models

    words = models.BoW(["cat", "dog", "snow"])
    SentenceTransformer(modules=[words]).save(str(tmp_path / "bow"))
    teacher = open_teacher(str(tmp_path / "bow"), device=CPU)
    assert teacher.encode(["cat cat dog"]).tolist() == [[2.0, 1.0, 0.0]]


def test_the_prompt_of_a_folder_replaces_its_own(tmp_path):
    tiny_llama(tmp_path / "base")
    encoder = bw.convert(tmp_path / "base", dtype="float32")
    encoder.save(tmp_path / "one")
    teacher = open_teacher(str(tmp_path / "one"), device=CPU)
    np.testing.assert_allclose(teacher.encode(["a cat"], "Find: "), encoder.encode(["a cat"], prompt="Find: "), atol=1e-6)
    assert not np.allclose(teacher.encode(["a cat"], "Find: "), teacher.encode(["a cat"]))


def test_an_adapter_over_another_base_is_another_teacher(tmp_path):
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer

    tiny_llama(tmp_path / "base")
    bw.convert(tmp_path / "base", dtype="float32").save(tmp_path / "st")
    model = SentenceTransformer(str(tmp_path / "st"), device="cpu")
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    model.save(str(tmp_path / "adapter"))
    before = open_teacher(str(tmp_path / "adapter"), device=CPU).fingerprint
    assert open_teacher(str(tmp_path / "adapter"), device=CPU).fingerprint == before
    other = bw.load(tmp_path / "st", dtype="float32")
    with torch.no_grad():
        next(other.backbone.parameters()).add_(0.1)
    shutil.rmtree(tmp_path / "st")
    with pytest.raises(SourceError, match="the base model that it names cannot be found"):
        open_teacher(str(tmp_path / "adapter"), device=CPU)
    other.save(tmp_path / "st")
    assert open_teacher(str(tmp_path / "adapter"), device=CPU).fingerprint != before


def test_a_method_as_a_function_is_known_by_the_module_that_names_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    prints = []
    for vocabulary in ("cat", "dog"):
        (tmp_path / "the_teacher.py").write_text(
            f"from sentence_transformers import SentenceTransformer, models\n"
            f"encode = SentenceTransformer(modules=[models.BoW(['{vocabulary}'])], device='cpu').encode\n"
        )
        sys.modules.pop("the_teacher", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        prints.append(open_teacher("the_teacher:encode", device=CPU).fingerprint)
    sys.modules.pop("the_teacher", None)
    assert prints[0] != prints[1]


@pytest.mark.parametrize(("code", "message"), [("def encode(:", "SyntaxError"), ("1 / 0", "ZeroDivisionError: division")])
def test_a_module_that_cannot_be_imported_is_named_in_one_line(tmp_path, monkeypatch, code, message):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"broken_{len(code)}.py").write_text(code)
    with pytest.raises(
        InputError, match=rf"^teacher broken_\d+:encode: importing broken_\d+ ends in {message}.*; correct the module$"
    ):
        open_teacher(f"broken_{len(code)}:encode", device=CPU)
