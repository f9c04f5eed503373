"""A teacher's vectors: each text once, on disk by text and teacher, the same after a stop."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from bothways.errors import InputError
from bothways.objectives.teacher import vector_cache
from bothways.objectives.teacher.teacher_config import TeacherConfig
from bothways.objectives.teacher.vector_cache import teacher_vectors
from tiny import SENTENCES

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


def test_each_text_is_encoded_once_over_all_runs(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr(vector_cache, "PART", 3)
    texts = [("", text) for text in SENTENCES]
    first = teacher_vectors(config(tmp_path), [*texts[:4], texts[0]], device=CPU)
    assert sorted(teacher.asked) == sorted(SENTENCES[:4])
    again = teacher_vectors(config(tmp_path), texts, device=CPU)
    assert sorted(teacher.asked) == sorted(SENTENCES), "only the new ones"
    assert torch.equal(first.of(texts[:4]), again.of(texts[:4]))
    expected = [[len(text), text.count("e"), 1.0] for _, text in texts]
    assert again.of(texts).tolist() == expected
    teacher_vectors(config(tmp_path), texts[::-1], device=CPU)
    assert len(teacher.asked) == len(SENTENCES)


def test_prompts_are_part_of_the_key(tmp_path, teacher):
    both = [("", "a text"), ("query: ", "a text")]
    found = teacher_vectors(config(tmp_path), both, device=CPU)
    assert sorted(teacher.asked) == ["a text", "query: a text"]
    assert found.of(both)[:, 0].tolist() == [6.0, 13.0]


def test_a_stopped_run_continues_after_its_last_part(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr(vector_cache, "PART", 2)
    plain, calls = teacher.encode, []

    def stops(texts):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return plain(texts)

    teacher.encode = stops
    texts = [("", text) for text in SENTENCES]
    with pytest.raises(KeyboardInterrupt):
        teacher_vectors(config(tmp_path), texts, device=CPU)
    done = len(teacher.asked)
    teacher.encode = plain
    # another function would have another fingerprint; these two have one name and no source file
    assert len(teacher_vectors(config(tmp_path), texts, device=CPU).vectors) == len(SENTENCES)
    assert done == 4
    assert len(teacher.asked) == len(SENTENCES)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [([[1.0, float("nan")]], "holds NaN or infinity"), ([1.0], "expected \\(n, d\\)"), ([[1.0]] * 2, "expected \\(n, d\\)")],
)
def test_wrong_vectors_are_refused_and_not_kept(tmp_path, teacher, vectors, message):
    teacher.encode = lambda texts: np.array(vectors)
    with pytest.raises(InputError, match=message):
        teacher_vectors(config(tmp_path), [("", "a")], device=CPU)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_damaged_part_is_named(tmp_path, teacher):
    teacher_vectors(config(tmp_path), [("", "a")], device=CPU)
    part = next(tmp_path.rglob("*.safetensors"))
    part.write_bytes(b"not tensors")
    with pytest.raises(InputError, match=f"{part.name}.*remove the file"):
        teacher_vectors(config(tmp_path), [("", "a")], device=CPU)


def test_processes_that_ask_for_the_same_texts_do_not_stop_each_other(teacher, tmp_path: Path) -> None:
    """Both encode what the cache lacks. One of them writes it."""
    made = config(tmp_path)
    whole = teacher_vectors(made, [("", text) for text in SENTENCES], device=CPU)
    (part,) = tmp_path.rglob("part-*.safetensors")
    content = part.read_bytes()
    part.unlink()
    code = f"""
import sys, time
from pathlib import Path
from bothways.atomic import atomic_file
with atomic_file(Path({str(part)!r})) as file:
    file.write_bytes(b"")
    print("writing", flush=True)
    sys.stdin.readline()
    file.write_bytes(bytes.fromhex({content.hex()!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == "writing\n"
        again = teacher_vectors(made, [("", text) for text in SENTENCES], device=CPU)
        assert not part.exists()
        other.stdin.write("\n")
    assert torch.equal(again.vectors, whole.vectors)
    assert part.read_bytes() == content
