"""Every message of the troubleshooting page is produced by a command that a user types."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.pages import page

from bothways import recipes
from bothways.encoder.convert import convert
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import Run, runner

PAGE = page("guides/troubleshooting.md")
SHOWN = [cell for cell in re.findall(r"^\| `([^|]+?)` \|", PAGE, re.MULTILINE)]
TRAIN = "train simcse --preset laptop --base base --data texts.txt"
LONGLORA = "train longlora --preset laptop --base base --data texts.txt"

COMMANDS = {
    "no such folder or file": "doctor ./no/such/folder",
    "the model hub cannot be reached": "doctor no-such/model",
    "did you mean 'smollm2-135m'?": "convert smollm2-136m --out o",
    "has no tokenizer": "convert config-only --out o",
    "is not a model type that transformers registers": "families lamma7",
    "is a finished encoder with its own direction": "doctor encoder --direction causal",
    "the encoder is causal": "export causal --to gguf --out o",
    "no such file or folder": "encode encoder missing.txt --out v.npy",
    "no column for text": "encode encoder columns.csv --out v.npy",
    "fit no known dialect": "prepare examples columns.csv --out o.jsonl",
    "no usable example": "train nv_embed --preset laptop --base base --data empty.jsonl --out o",
    "a number says nothing": "prepare classification numbers.jsonl --by label --out o.jsonl",
    "lone surrogate": "evaluate encoder --task sts:half.jsonl",
    "one step takes": f"{TRAIN} --out o",
    "--out: name the folder for the trained encoder": TRAIN,
    "already exists and is not empty": "convert base --out full",
    "so there is no run to resume": f"{TRAIN} --out full --resume",
    "--overwrite starts again and --resume continues": f"{TRAIN} --out o --overwrite --resume",
    "unknown key": "train unknown.yaml --out o",
    "expected path=value": f"{TRAIN} --set nonsense --out o",
    "chooses checkpoints of contrastive stages": f"{LONGLORA} --dev sts:pairs.jsonl --out o",
    "unknown task": "evaluate encoder --task stss:pairs.jsonl",
    "is not stored": "encode encoder texts.txt --prompt-name question --out v.npy",
    "must end in": "encode encoder texts.txt --out v.csv",
    "is not there: torch sees": "doctor base --device cuda:7",
    "which is not installed; run: pip install": "serve encoder",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    base = tiny_llama(folder / "base")
    convert(base, dtype="float32", device="cpu").save(folder / "encoder")
    convert(base, direction="causal", dtype="float32", device="cpu").save(folder / "causal")
    for name in ("config-only", "full"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_bytes((base / "config.json").read_bytes())
    (folder / "texts.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    (folder / "columns.csv").write_text("a,b\n1,2\n")
    pair = {"sentence1": "a", "sentence2": "b", "score": 1.0}
    rows = {
        "empty": [{"query": "a", "pos": [], "neg": ["b"]}],
        "numbers": [{"text": text, "label": i % 2} for i, text in enumerate(SENTENCES)],
        "half": [{**pair, "sentence1": "\ud800"}, {**pair, "score": 2.0}],
        "pairs": [pair, {**pair, "score": 2.0}],
    }
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "unknown.yaml").write_text(recipes.simcse(base="base").to_yaml().replace("\nseed:", "\nsede:"))
    return folder


def test_there_are_twenty_and_each_has_a_command() -> None:
    assert len(SHOWN) >= 20
    assert list(COMMANDS) == SHOWN


@pytest.mark.parametrize("message", COMMANDS)
def test_a_command_produces_it(
    message: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Run = runner(capsys)
    monkeypatch.chdir(place)
    if message.startswith("which is not installed"):
        monkeypatch.setattr("bothways.cli.verbs.serve.find_spec", lambda name: None)
    done = run(*COMMANDS[message].split())
    assert done.code == 2, done.err
    line = done.err.splitlines()[-1]
    assert line.startswith("error: ") and message in line
