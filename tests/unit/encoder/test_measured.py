"""Measurements that are kept between processes: what they depend on, damage, and their number."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import bothways as bw
from bothways.encoder import measured
from bothways.encoder.measured import KeptMeasurement, identity
from bothways.pooling import Pooling
from tiny import tiny_llama


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BOTHWAYS_MEASURED", "1")
    return tmp_path / "cache"


def encoder(folder: Path, **options: Any) -> bw.Encoder:
    return bw.convert(folder, dtype="float32", device="cpu", **options)


def test_an_identity_is_of_everything_that_vectors_depend_on(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    first = encoder(base)
    wanted = identity(first)
    assert wanted == identity(encoder(base)) and len(wanted) == 64
    others = [
        identity(encoder(base, pooling="last")),
        identity(encoder(base, direction="causal")),
        identity(encoder(tiny_llama(tmp_path / "b", rms_norm_eps=1e-3))),
        identity(encoder(tiny_llama(tmp_path / "c", rope_parameters={"rope_type": "default", "rope_theta": 500.0}))),
    ]
    first.pooling = Pooling("max")
    others.append(identity(first))
    first = encoder(base)
    with torch.no_grad():
        weight = first.backbone.layers[1].mlp.up_proj.weight  # type: ignore[union-attr, index]
        weight[3, 5] += 1e-6  # one number, which a sample would not see
    others.append(identity(first))
    assert len({wanted, *others}) == 1 + len(others)


def test_an_entry_is_of_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [KeptMeasurement("a", {"x": 1}).file, KeptMeasurement("b", {"x": 1}).file, KeptMeasurement("a", {"x": 2}).file]
    assert KeptMeasurement("a", {"x": 1}).file == files[0]
    for name, value in (("_code", "other"), ("_cpu", {"capability": "AVX2"}), ("versions", {"torch": "1"})):
        with monkeypatch.context() as patch:
            patch.setattr(measured, name, lambda value=value: value)
            files.append(KeptMeasurement("a", {"x": 1}).file)
    assert len(set(files)) == 6


def test_code_is_that_of_the_sources() -> None:
    assert "encoder" in measured._MEASURING and len(measured._code()) == 64
    assert all((Path(bw.__file__).parent / part).is_dir() for part in measured._MEASURING)


def test_damage_is_named_and_never_used(caplog: pytest.LogCaptureFixture) -> None:
    entry = KeptMeasurement("a", {})
    assert entry.read() is None and caplog.text == ""
    value = {"forms": ["one", "two"], "cosines": [0.1 + 0.2, 1 / 3]}
    entry.write(value)
    whole = entry.file.read_text()
    assert KeptMeasurement("a", {}).read() == value
    for damaged in (
        "",
        whole[:-3],
        whole.replace("one", "two"),
        whole.replace("0.3", "0.4"),
        "[]",
        "null",
        json.dumps({"value": 1, "sha256": measured._digest(1)}),
        json.dumps({"value": value}),
        "[" * 100_000,
    ):
        caplog.clear()
        entry.file.write_text(damaged)
        assert entry.read() is None, damaged[:60]
        assert "is damaged, so it is measured again" in caplog.text
    entry.file.write_bytes(b"\xff\xfe")
    assert entry.read() is None
    entry.write(value)
    assert entry.read() == value


def test_the_entries_that_were_used_last_are_kept(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(measured, "MOST", 3)
    made = [KeptMeasurement("a", {"n": n}) for n in range(4)]
    for age, entry in enumerate(made[:3]):
        entry.write({"n": age})
        os.utime(entry.file, (1000 + age, 1000 + age))
    assert made[0].read() == {"n": 0}
    made[3].write({"n": 3})
    assert [entry.read() is not None for entry in made] == [True, False, True, True]
    assert len(list((cache / "measured").glob("*.json"))) == 3


def test_switched_off_nothing_is_read_or_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    entry = KeptMeasurement("a", {})
    entry.write({"n": 1})
    monkeypatch.setenv("BOTHWAYS_MEASURED", "0")
    assert entry.read() is None
    KeptMeasurement("b", {}).write({"n": 1})
    assert len(list((cache / "measured").glob("*.json"))) == 1
    assert identity(encoder(tiny_llama(tmp_path / "base"))) == ""


def test_a_place_that_cannot_be_written_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="bothways")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "file" / "cache"))
    entry = KeptMeasurement("a", {})
    entry.write({"n": 1})
    assert "cannot be stored" in caplog.text and entry.read() is None


def test_without_a_home_folder_everything_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("BOTHWAYS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    entry = KeptMeasurement("a", {})
    entry.write({"n": 1})
    assert entry.read() is None
    assert encoder(tiny_llama(tmp_path / "base")).execution == "packed"


def test_facts_of_every_kind_have_a_key() -> None:
    mixed = {1: "a", "1": "b", "path": Path("x"), "type": torch.float32}
    assert KeptMeasurement("a", {"x": mixed}).file == KeptMeasurement("a", {"x": dict(mixed)}).file
