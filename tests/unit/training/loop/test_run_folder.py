"""Which folders a run may use: empty ones, and those of the same recipe and data."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.errors import InputError
from bothways.training.recipe.overrides import override
from unit.training.material import TEXTS, interrupted, recipe


def test_resuming_refuses_what_has_changed(tmp_path: Path, monkeypatch) -> None:
    made, out = recipe(tmp_path), tmp_path / "out"
    interrupted(made, out, monkeypatch)
    changed = override(made, ["stages.mntp.optim.lr=0.5", "seed=9"])
    with pytest.raises(InputError, match=r"recipe has changed.*seed \(3 → 9\); stages\.mntp\.optim\.lr \(0\.001 → 0\.5\)"):
        bw.train(changed, out, resume=True, texts=TEXTS)
    with pytest.raises(InputError, match="texts has changed"):
        bw.train(made, out, resume=True, texts=TEXTS[1:])
    bw.train(override(made, ["stages.*.log_every=1", "keep_checkpoints=1"]), out, resume=True, texts=TEXTS)
    assert (out / "modules.json").exists()


def test_an_occupied_folder_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="already exists and is not empty"):
        bw.train(recipe(tmp_path), out, texts=TEXTS)
    with pytest.raises(InputError, match=r"no recipe\.yaml"):
        bw.train(recipe(tmp_path), out, resume=True, texts=TEXTS)
    assert [entry.name for entry in out.iterdir()] == ["notes.txt"]


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
