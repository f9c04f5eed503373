"""The door for files of other programs: whatever a library raises on damage is one bounded line
with the place, and exit code 2.
"""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

import bothways as bw
from bothways.cli.app import main
from bothways.errors import BothwaysError, InputError, SourceError
from bothways.foreign import LIMIT, foreign, object_if_whole, one_line, positive, read_json, read_object, read_tensors
from tiny import tiny_gguf, tiny_llama

RAISED = [
    Exception("invalid type: null, expected a map"),
    struct.error("unpack requires 8 bytes"),
    pickle.UnpicklingError("Weights only load failed\nwith pages\nof advice " + "x" * 5000),
    RecursionError(),
    OverflowError("int too large"),
    IndexError("0"),
    ZeroDivisionError(),
    AssertionError(),
    KeyError("target_modules"),
    MemoryError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ImportError("no module\x1b[31m"),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_is_raised_becomes_one_bounded_line(error: Exception) -> None:
    with pytest.raises(InputError) as caught, foreign("folder/file", "cannot be read", "fetch it again"):
        raise error
    line = str(caught.value)
    assert line.startswith("folder/file: cannot be read (")
    assert line.endswith("; fetch it again")
    assert line.isprintable()
    assert len(line) < LIMIT + 60
    assert type(error).__name__ in line or str(error) in line or "target_modules" in line
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [SourceError("ours"), KeyboardInterrupt(), torch.OutOfMemoryError("CUDA out of memory")])
def test_what_is_meant_for_others_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, foreign("file"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 6000, "\ufeff{}", "\x00"])
def test_broken_json_is_a_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json: cannot be read as JSON \("):
        read_json(file)


@pytest.mark.parametrize(
    ("value", "kind"), [("[]", "list"), ("null", "null"), ("3", "number"), ("true", "boolean"), ('"a"', "string")]
)
def test_an_object_is_an_object(tmp_path: Path, value: str, kind: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(value, encoding="utf-8")
    with pytest.raises(InputError, match=f"must hold a JSON object, and holds a {kind}"):
        read_object(file)
    assert read_object(tmp_path / "absent.json", {"a": 1}) == {"a": 1}


def test_tensors_of_both_kinds(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = {"a": torch.arange(3.0)}
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.bin")
    for name in ("a.safetensors", "a.bin"):
        assert torch.equal(read_tensors(tmp_path / name)["a"], tensors["a"])
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:40])
        with pytest.raises(InputError, match=f"{name}: cannot be read as tensors"):
            read_tensors(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.bin")
    with pytest.raises(InputError, match="must hold tensors by name"):
        read_tensors(tmp_path / "list.bin")


def test_whole_numbers() -> None:
    assert positive(512, "x") == positive(512.0, "x") == 512
    for wrong in (0, -1, 1.5, True, "512", None, float("inf"), float("nan"), []):
        with pytest.raises(InputError, match="x must be a whole number"):
            positive(wrong, "x")


def test_one_line_is_short_and_plain() -> None:
    assert one_line("a\n\tb \x1b[31mc\u202e") == "a b [31mc"
    assert len(one_line("x" * 1000)) == LIMIT


# --- the same through the public doors
# -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, base: Path) -> Path:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    bw.convert(base, dtype="float32", device="cpu").save(folder)
    return folder


def _refused(call: Any, place: Path) -> str:
    with pytest.raises(BothwaysError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1500
    assert str(place) in line
    return line


NOISE = [b"", b"{", b"[]", b"null", b"3", b"[" * 30_000, b"\xff\xfe\x00", b'"' + b"9" * 5000]


@pytest.mark.parametrize("noise", NOISE, ids=range(len(NOISE)))
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_broken_file_of_a_base(base: Path, tmp_path: Path, name: str, noise: bytes) -> None:
    folder = shutil.copytree(base, tmp_path / "model")
    (folder / name).write_bytes(noise)
    _refused(lambda: bw.convert(folder, device="cpu"), folder)


FIELDS: list[tuple[str, str, Any]] = [
    *(("config.json", "dtype", value) for value in ([], float("inf"), "float99")),
    *(("config.json", "vocab_size", value) for value in (0, -1, "x", None, [])),
    *(("config.json", "head_dim", value) for value in (0, "x", -2)),
    *(("config.json", "num_hidden_layers", value) for value in ("x", {}, 1e400)),
    *(("config.json", "rope_parameters", value) for value in ([], "x", {"rope_type": "nonsense"})),
    ("config.json", "bothways_original", True),
    ("config.json", "layer_types", 3),
    *(("tokenizer_config.json", "model_max_length", value) for value in ("x", {}, [])),
    *(("modules.json", "", value) for value in ({}, [3], ["a"], None, [{"type": "Transformer"}])),
    *(("1_Pooling/config.json", "", value) for value in ([], None, 3)),
    *(("1_Pooling/config.json", "pooling_mode", value) for value in ({}, 3, [3])),
    *(("sentence_bert_config.json", "", value) for value in ([], None, 3)),
    *(("sentence_bert_config.json", "max_seq_length", value) for value in ("x", [], 0, float("inf"))),
    ("sentence_bert_config.json", "modality_config", [1]),
    *(("config_sentence_transformers.json", "", value) for value in ([], None, 3)),
    *(("config_sentence_transformers.json", "prompts", value) for value in ([1], "x", {"a": 3})),
    ("config_sentence_transformers.json", "default_prompt_name", {}),
    *(("bothways.json", "", value) for value in ([], None, 3)),
    ("bothways.json", "report", 3),
]


@pytest.mark.parametrize(("name", "field", "value"), FIELDS, ids=lambda value: repr(value)[:40])
def test_a_wrong_value_in_a_published_folder(encoder: Path, tmp_path: Path, name: str, field: str, value: Any) -> None:
    folder = shutil.copytree(encoder, tmp_path / "model")
    there = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**there, field: value} if field else value))
    _refused(lambda: bw.load(folder, device="cpu").encode("a text"), folder if field != "max_seq_length" else Path(field))


@pytest.mark.parametrize("size", [0, 4, 24, 400, 5000])
def test_a_gguf_that_was_cut(base: Path, tmp_path: Path, size: int) -> None:
    file = tiny_gguf(tmp_path / "model.gguf", base)
    file.write_bytes(file.read_bytes()[:size])
    _refused(lambda: bw.convert(file, device="cpu"), file)


@pytest.mark.parametrize(
    "device", ["meta", "xla", "xpu", "hpu", "vulkan", "mtia", "privateuseone", "ipu", "cuda:-1", "", "nonsense"]
)
def test_devices_that_are_not_there(device: str) -> None:
    from bothways.backbone.hardware import resolve_device

    with pytest.raises(InputError, match=r"(use cpu or auto|give auto, cpu)"):
        resolve_device(device)


def test_debug_shows_the_traceback_before_and_after_the_verb(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(base, tmp_path / "model")
    (folder / "tokenizer.json").write_text("{")
    plain = ["doctor", str(folder)]
    for words, shown in ((plain, False), (["--debug", *plain], True), ([*plain, "--debug"], True)):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert ("Traceback" in said) == shown
        assert said.splitlines()[-1].startswith(f"error: {folder}: its tokenizer cannot be loaded")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 6000, "[1]", "\x00", None])
def test_an_object_that_is_not_whole_is_empty(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "config.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert object_if_whole(file) == {}
    file.write_text('{"a": 1}', encoding="utf-8")
    assert object_if_whole(file) == {"a": 1}
