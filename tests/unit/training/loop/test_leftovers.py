"""What a killed run leaves half-written: removed where it is no more than that, named where it is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError
from unit.training.material import TEXTS, interrupted, recipe


def test_resuming_removes_half_written_files_and_names_a_broken_one(tmp_path: Path, monkeypatch) -> None:
    made, out = recipe(tmp_path), tmp_path / "out"
    interrupted(made, out, monkeypatch)
    (out / "stages" / ".1-mntp.x1.part").mkdir(parents=True)
    (out / "stages" / ".1-mntp.x1.part" / "model.safetensors").write_bytes(b"half")
    (out / ".recipe.yaml.x2.part").write_bytes(b"half")
    aside = out / "stages" / ".1-mntp.x3.old"  # for a moment all that there is
    aside.mkdir()
    (optimizer,) = out.rglob("optimizer.pt")
    content = optimizer.read_bytes()
    optimizer.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"optimizer\.pt: broken \(.*\); remove the folder to resume before it"):
        bw.train(made, out, resume=True, texts=TEXTS)
    assert not list(out.rglob(".*.part"))
    assert aside.is_dir()
    optimizer.write_bytes(content)
    assert len(bw.train(made, out, resume=True, texts=TEXTS).provenance["stages"]) == 2
