"""The doctor on the cached copy of the embedded model, with a tiny model in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bothways as bw
from bothways.backbone.loading import embedded
from bothways.encoder.proof import disk
from bothways.encoder.proof.doctor import doctor
from tiny import tiny_llama
from unit.backbone.loading.test_embedded import NAME, Shop, goods, shop  # noqa: F401 - fixtures


def test_a_copy_that_does_not_fit_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu").save(tmp_path / "saved")
    encoder = bw.load(tmp_path / "saved", dtype="float32", device="cpu")
    need = disk._bytes(encoder)
    assert need == int(1.1 * sum(4 * value.numel() for value in encoder.backbone.state_dict().values()))
    assert "the same vectors through plain transformers" in disk.on_disk(encoder, "on disk", False).sentence
    monkeypatch.setattr(disk, "_plain", None)
    for gib, free in (("0.0", need - 1), ("1.5", 3 * 2**29 - 1)):
        if gib != "0.0":
            monkeypatch.setattr(disk, "_bytes", lambda _: 3 * 2**29)
        monkeypatch.setattr(disk, "_available", lambda _, free=free: free)
        check = disk.on_disk(encoder, "on disk", False)
        assert check.passed and check.figure == "–"
        assert check.sentence == f"not compared: a second copy of the model takes {gib} GiB, more than is free here"


def test_the_doctor_hashes_the_copy_again(
    shop: Shop,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Bytes that a disk changed while size and times stay as they were: a load trusts them, the
    doctor does not.
    """
    encoder = bw.convert(NAME)
    encoder.save(tmp_path / "saved")
    (check,) = [each for each in doctor(encoder, quick=True) if each.name == "embedded cache"]
    assert check.passed and "has the bytes that its conversion wrote" in check.sentence
    folder = shop.store / NAME
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    marker = json.loads((folder / embedded.MARKER).read_text())
    marker["seen"]["model.safetensors"] = embedded._state(folder / "model.safetensors")
    (folder / embedded.MARKER).write_text(json.dumps(marker))
    assert embedded.is_current(folder, shop.wanted)
    assert embedded.damaged(NAME) == [folder / "model.safetensors"]
    for found in (bw.convert(NAME), bw.load(tmp_path / "saved")):
        (check,) = [each for each in doctor(found, quick=True) if each.name == "embedded cache"]
        assert not check.passed and "model.safetensors in" in check.sentence and "remove this folder" in check.sentence
    other = bw.convert(shop.llama)
    assert "embedded cache" not in [each.name for each in doctor(other, quick=True)]
