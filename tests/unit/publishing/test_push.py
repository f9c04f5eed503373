"""Uploads, compared byte by byte with what a stand-in of the hub holds afterwards; refusals in one
line, before anything is sent.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import _http
from safetensors.torch import load_file, save_file

import bothways as bw
from bothways.errors import BothwaysError, InputError, OutputError
from hub_server import TOKEN, Hub, hub_server
from tiny import tiny_llama

NAME = "me/mine"
STATE = (
    "checkpoints/step-1/optimizer.pt",
    "metrics.jsonl",
    "recipe.yaml",
    "notes on a customer.txt",
    ".secret",
    "adapters/1-mntp/adapter_model.safetensors",
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    encoder = bw.convert(tiny_llama(tmp_path / "base of someone"), dtype="float32", device="cpu", prompts={"query": "Find:\n"})
    source = {"source": str(tmp_path / "customer" / "texts.jsonl"), "kind": "file", "texts": 3, "sha256": "ab" * 32}
    encoder.provenance["stages"] = [
        {"name": "simcse", "objective": {"kind": "contrastive"}, "data": [source], "dev": f"sts:{tmp_path}/d.jsonl?split=dev"}
    ]
    encoder.save(tmp_path / "run")
    for name in STATE:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("private")
    return tmp_path / "run"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, which huggingface_hub takes for the hub: what its environment variables set,
    set here.
    """
    with hub_server() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        _http.close_session()
        yield served
        _http.close_session()


def test_what_goes_up_is_the_encoder_and_nothing_else(saved: Path, hub: Hub, tmp_path: Path) -> None:
    upload = bw.push(saved, NAME, private=True, license="MIT", message="first")
    held = hub.repositories[NAME]
    files = held.branches["main"]
    assert held.private and held.messages == ["first"] and upload.url is not None and upload.url.startswith(hub.url)
    assert dict(upload.files) == {name: len(raw) for name, raw in files.items()}
    assert set(files) == {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()} - set(STATE)
    changed = {"README.md", "bothways.json"}
    assert all(files[name] == (saved / name).read_bytes() for name in files.keys() - changed)
    assert set(upload.left_out) == {"checkpoints/", "adapters/", *(name for name in STATE if "/" not in name)}
    for name, raw in files.items():
        assert str(tmp_path).encode() not in raw and b"customer" not in raw and b"base of someone" not in raw, name
    ours = json.loads(files["bothways.json"])
    assert ours["base"] == "a local model" and ours["stages"][0]["dev"] == "sts:d.jsonl?split=dev"
    card = ModelCard(files["README.md"].decode())
    assert card.data.license == "mit" and card.data.base_model is None and f'bw.load("{NAME}")' in card.text
    for name, raw in files.items():
        (tmp_path / "down" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "down" / name).write_bytes(raw)
    texts = ["a text", "두 번째 글"]
    ours_, theirs = (bw.load(place, device="cpu", dtype="float32").encode_query(texts) for place in (saved, tmp_path / "down"))
    assert np.array_equal(ours_, theirs)


def test_a_dry_run_sends_nothing_and_needs_no_token(saved: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = bw.push(saved, NAME, license="mit")
    asked = len(hub.asked)
    monkeypatch.delenv("HF_TOKEN")
    dry = bw.push(saved, NAME, license="mit", dry_run=True)
    assert len(hub.asked) == asked and dry.files == sent.files and dry.url is None


def test_a_later_upload_leaves_no_part_of_the_earlier_model(saved: Path, hub: Hub) -> None:
    bw.push(saved, NAME)
    old = hub.files(NAME)
    old |= {
        "model-00001-of-00002.safetensors": b"old",
        "model.safetensors.index.json": b"old",
        "picture.png": b"x",
        ".gitattributes": b"",
    }
    upload = bw.push(saved, NAME)
    assert set(upload.removed) == {"model-00001-of-00002.safetensors", "model.safetensors.index.json"}
    assert set(hub.files(NAME)) == {*dict(upload.files), "picture.png", ".gitattributes"}


def test_a_branch(saved: Path, hub: Hub) -> None:
    bw.push(saved, NAME, revision="v2")
    assert hub.files(NAME) == {} and "model.safetensors" in hub.files(NAME, "v2")
    bw.push(saved, NAME, revision="v2", license="mit")


def test_a_public_repository_is_not_taken_for_a_private_one(saved: Path, hub: Hub) -> None:
    bw.push(saved, NAME)
    before = dict(hub.files(NAME))
    with pytest.raises(InputError, match="exists and is public"):
        bw.push(saved, NAME, private=True, license="mit")
    assert hub.files(NAME) == before


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("repos/create", 401, "401.*token"),
        ("repos/create", 403, "403.*write access"),
        ("repos/create", 500, "500"),
        ("/commit/", 409, "409.*push again"),
        ("/commit/", 412, "412.*push again"),
        ("/preupload/", 404, "404"),
        ("/objects/", 403, "403"),
        ("info/lfs", 413, "413.*too large"),
    ],
)
def test_what_the_hub_answers_is_one_line(
    saved: Path, hub: Hub, path: str, status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fail[path] = status
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))
    with pytest.raises(OutputError, match=words) as caught:
        bw.push(saved, NAME)
    assert "\n" not in str(caught.value) and TOKEN not in str(caught.value)


def test_a_wrong_token_and_none(saved: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(OutputError, match=r"401.*HF_TOKEN"):
        bw.push(saved, NAME)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(InputError, match="HF_TOKEN"):
        bw.push(saved, NAME)


def nan_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change(file: str, **fields: object):
    def apply(folder: Path) -> None:
        held = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**held, **fields}))

    return apply


def write(file: str, text: str):
    return lambda folder: (folder / file).write_text(text)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (nan_weights, "NaN|doctor"),
        (lambda folder: (folder / "bothways.json").unlink(), "bothways.json is missing"),
        (lambda folder: (folder / "modules.json").unlink(), "modules.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (write("model.safetensors.index.json", "{}"), "both model.safetensors and an index"),
        (write("adapter_config.json", "{}"), "adapter_config.json: bothways did not write this file"),
        (write("chat_template.jinja", "x"), "chat_template.jinja: bothways did not write this file"),
        (change("config.json", is_causal=True), "causal"),
        (change("config.json", _name_or_path="/home/jane/llama"), "config.json: contains a path.*_name_or_path"),
        (change("tokenizer_config.json", name_or_path="C:\\Users\\Jane\\llama"), "tokenizer_config.json: contains a path"),
        (write("README.md", "# Mine\n\nTrained on `/home/jane/secret.jsonl`.\n"), "README.md: contains a path.*line 3"),
        (write("README.md", "---\nbase_model: /models/llama\n---\n"), "base_model '/models/llama' is not a name on the hub"),
        (write("README.md", "---\nbase_model: [org/a, ./llama]\n---\n"), "base_model './llama' is not"),
        (write("README.md", "---\nlicense: [\n---\n"), "front matter"),
    ],
)
def test_refused_before_anything_is_sent(saved: Path, hub: Hub, damage, words: str) -> None:
    damage(saved)
    for dry in (True, False):
        with pytest.raises(BothwaysError, match=words) as caught:
            bw.push(saved, NAME, dry_run=dry)
        assert "\n" not in str(caught.value)
    assert not hub.asked


def test_an_edited_card_goes_up_as_it_is(saved: Path, hub: Hub) -> None:
    mine = (
        "---\ntags: [mine]\nlicense: mit\nbase_model: org/base\n---\n# Mine, see /docs/usage and https://example.org/home/x\n"
    )
    (saved / "README.md").write_text(mine)
    bw.push(saved, NAME)
    assert hub.files(NAME)["README.md"] == mine.encode()
    with pytest.raises(InputError, match=r"bothways card .* --replace"):
        bw.push(saved, NAME, license="mit")


def test_the_hub_refuses_the_metadata(saved: Path, hub: Hub) -> None:
    (saved / "README.md").write_text("---\ntags: none\n---\n# Mine\n")
    with pytest.raises(InputError, match=r"front matter of README.md.*bad metadata"):
        bw.push(saved, NAME)


def test_further_files_and_links(saved: Path, hub: Hub, tmp_path: Path) -> None:
    (saved / "plot.png").write_bytes(b"png")
    (saved / "LICENSE").write_text("free")
    weights = saved / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    bw.push(saved, NAME, include=["*.png"])
    files = hub.files(NAME)
    assert (
        files["plot.png"] == b"png"
        and files["LICENSE"] == b"free"
        and files["model.safetensors"] == (tmp_path / "elsewhere").read_bytes()
    )


@pytest.mark.parametrize("name", ["mine", "me/mine/too", "me/-mine", "me/mi ne", "/tmp/x", ""])
def test_names_that_no_hub_takes(saved: Path, name: str) -> None:
    with pytest.raises(InputError):
        bw.push(saved, name, dry_run=True)


def test_the_command_by_its_environment(saved: Path) -> None:
    with hub_server() as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        run = [sys.executable, "-c", "from bothways.cli import main; main()", "push", str(saved), NAME, "--private"]
        done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "10 files" in done.stdout and "not uploaded  checkpoints/" in done.stdout
        assert hub.files(NAME)["model.safetensors"] == (saved / "model.safetensors").read_bytes()


def test_no_network(saved: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OutputError, match="cannot be reached") as caught:
        bw.push(saved, NAME)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OutputError, match="HF_HUB_OFFLINE is set"):
        bw.push(saved, NAME)
    assert not hub.asked
