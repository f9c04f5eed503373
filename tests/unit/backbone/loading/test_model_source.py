"""A model's name is looked up once: which kind it is, which of two wins, and how often the hub is
asked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError

import bothways as bw
from bothways.backbone.adapter import merging
from bothways.backbone.adapter.adapter_files import save_adapter
from bothways.backbone.adapter.lora import attach
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.loading import model_source
from bothways.backbone.loading.model_source import Source, locate, resolve
from bothways.backbone.loading.sources import load_pretrained
from bothways.cli.open_model import open_evaluated
from bothways.cli.options import open_encoder
from bothways.encoder.foreign_encoder import is_foreign
from bothways.encoder.load import is_encoder, local_folder
from bothways.errors import InputError, SourceError
from bothways.evaluation.language_model.language_model import load_language_model
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.base_encoder import open_base
from bothways.training.stage.stage_context import StageContext
from tiny import tiny_llama
from unit.training.material import simcse

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, config = tmp_path_factory.mktemp("adapter") / "adapter", LoraConfig(r=2, alpha=4)
    model = load_pretrained(base, dtype="float32").model
    attach(model, config, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    save_adapter(model, config, folder, base=str(base), rope=None)
    return folder


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were looked up, one entry each time."""
    names: list[str] = []
    before = model_source._named

    def counted(name: str | os.PathLike[str]) -> Source:
        names.append(str(name))
        return before(name)

    monkeypatch.setattr(model_source, "_named", counted)
    return names


def test_a_source_is_a_path_with_the_name_that_the_user_gave(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(base.parent))
    source = resolve(f"~/{base.name}")
    assert (str(source), os.fspath(source), source.kind) == (f"~/{base.name}", str(base), "folder")
    assert resolve(source) is source and locate(source) is source
    assert Path(source) == source.folder == base and source.place == str(base)
    assert bw.convert(source, **CPU).provenance["base"] == f"~/{base.name}"


def test_an_encoder_folder_wins_over_an_embedded_name_and_a_base_does_not(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_llama(tmp_path / "smollm2-135m")
    assert {locate("smollm2-135m").kind, resolve("smollm2-135m").kind} == {"embedded"}
    assert not is_encoder("smollm2-135m")
    for file in model_source.ENCODER_FILES:
        (tmp_path / "smollm2-135m" / file).write_text("{}")
        assert locate("smollm2-135m") == Source("smollm2-135m", "folder", "smollm2-135m")
        assert is_encoder("smollm2-135m") and local_folder("smollm2-135m") == Path("smollm2-135m")
        # the base of an encoder in this folder, by the name in its provenance
        assert resolve("smollm2-135m").kind == "embedded"
        (tmp_path / "smollm2-135m" / file).unlink()


def test_locate_leaves_the_contents_of_a_folder_to_its_reader(tmp_path: Path) -> None:
    assert locate(tmp_path).kind == "folder"
    with pytest.raises(SourceError, match=r"has no config\.json"):
        resolve(locate(tmp_path))
    with pytest.raises(InputError, match="no encoder here"):
        bw.load(tmp_path)
    with pytest.raises(SourceError, match="is empty"):
        locate(" ")


def test_the_hub_is_asked_once_for_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(repository: str, file: str) -> str:
        asked.append(f"{repository}: {file}")
        if file != "modules.json":
            raise EntryNotFoundError(f"404 {file}")
        return file

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    source = locate("owner/encoder")
    assert is_encoder(source) and is_foreign(source) and is_encoder(source)
    assert asked == ["owner/encoder: modules.json", "owner/encoder: bothways.json"]
    assert not locate("owner/encoder").holds("config.json")


def test_an_unreachable_hub_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [OSError("We couldn't connect"), "modules.json"]

    def download(repository: str, file: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    source = locate("owner/encoder")
    with pytest.raises(SourceError, match="cannot be reached"):
        is_encoder(source)
    assert is_encoder(source)


def test_the_command_line_looks_a_name_up_once(looked_up: list[str], base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded name goes through every step of the lookup."""
    monkeypatch.setattr(model_source.embedded, "names", lambda: ("smollm2-135m",))
    monkeypatch.setattr(model_source.embedded, "ensure", lambda name: base)
    for opened in (
        lambda: open_encoder("smollm2-135m", **CPU),
        lambda: open_evaluated("smollm2-135m", [], **CPU),
        lambda: bw.convert("smollm2-135m", rope={"context": 1024, "type": "linear"}, **CPU),
        lambda: load_language_model("smollm2-135m", **CPU),
    ):
        looked_up.clear()
        opened()
        assert looked_up == ["smollm2-135m"]


def test_an_adapter_of_the_hub_is_fetched_once(base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def download(repository: str, **patterns: Any) -> str:
        fetched.append(repository)
        return str(adapter)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    expected = bw.convert(base, adapter=adapter, **CPU)
    assert fetched == []
    encoder = bw.convert(base, adapter="owner/adapter", **CPU)
    assert fetched == ["owner/adapter"]
    assert encoder.provenance["base_adapter"] == "owner/adapter"
    for name, tensor in expected.backbone.state_dict().items():
        assert torch.equal(encoder.backbone.state_dict()[name], tensor), name

    fetched.clear()
    values = {"name": "test", "base": str(base), "base_adapter": "owner/adapter", "stages": [simcse()]}
    context = StageContext(Recipe.from_values(values), 0)
    trained = open_base(context, device=torch.device("cpu"), dtype=torch.float32)
    assert fetched == ["owner/adapter"]
    assert trained.provenance["base_adapter"] == "owner/adapter"
    assert trained.provenance["merged_adapters"] == encoder.provenance["merged_adapters"]


def test_a_found_adapter_keeps_its_name(adapter: Path, base: Path) -> None:
    found = merging.find_adapter(adapter)
    assert merging.find_adapter(found) == found == Source(str(adapter), "folder", str(adapter))
    with pytest.raises(InputError, match=r"no adapter_config\.json"):
        merging.find_adapter(base)
