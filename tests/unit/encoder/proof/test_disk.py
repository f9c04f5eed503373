"""The doctor on the cached copy of the embedded model, with a tiny model in its place."""

from __future__ import annotations

import json
from pathlib import Path

import bothways as bw
from bothways.backbone.loading import embedded
from bothways.encoder.proof.doctor import doctor
from unit.backbone.loading.test_embedded import NAME, Shop, goods, shop  # noqa: F401 - fixtures


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
