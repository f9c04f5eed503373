"""Tab completes verbs, options and the names of every closed set, and does not load torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from bothways import recipes
from bothways.backbone.hardware import _DTYPES
from bothways.backbone.loading import embedded
from bothways.cli import completion
from bothways.config import Direction, DType
from bothways.exports.export import TARGETS
from bothways.exports.graphs.short.short_passes import KINDS as GRAPHS
from bothways.mining.options import Backend, Store
from bothways.pooling.config import KNOWN
from bothways.recipes.recipe_parts import Preset

ASK = "import sys\nfrom bothways.cli import main\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules, 'torch was loaded'"


def asked(line: str, shell: str = "bash", program: str = ASK) -> list[str]:
    """What the shell gets for a line, at its end."""
    words = {"bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}, "zsh": {"_TYPER_COMPLETE_ARGS": line}}
    environ = {**os.environ, "_BOTHWAYS_COMPLETE": f"complete_{shell}", **words[shell]}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_names_are_those_of_the_library() -> None:
    assert completion.RECIPES == recipes.NAMES
    assert get_args(Preset) == completion.PRESETS
    assert sorted(completion.POOLINGS) == sorted(KNOWN)
    assert embedded.names() == completion.BASES
    assert get_args(Direction) == completion.DIRECTIONS
    assert completion.TYPES == get_args(DType) == ("auto", *_DTYPES)
    assert tuple(TARGETS) == completion.TARGETS
    assert completion.GRAPHS == GRAPHS
    assert tuple(completion._NAMES["mine backend"]()) == get_args(Backend)
    assert tuple(completion._NAMES["mine store"]()) == get_args(Store)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("bothways conv", ["convert"]),
        ("bothways evaluate m --task st", ["stdlib", "sts:"]),
        ("bothways train nv", ["nv_embed"]),
        ("bothways train simcse --preset la", ["laptop"]),
        ("bothways prepare examples r.jsonl --dialect sim", ["simcse"]),
        ("bothways prepare examples r.jsonl --template e5", ["e5_mistral", "e5"]),
        ("bothways convert b --pooling la", ["last", "last_tokens", "latent_attention"]),
        ("bothways ablate --tasks retr", ["retrieval:"]),
        ("bothways export m --to on", ["onnx"]),
        ("bothways doctor smol", ["smollm2-135m"]),
        ("bothways serve m --pooling we", ["weighted_mean"]),
        ("bothways search m --jso", ["--json"]),
        ("bothways serve m --graph op", ["openvino"]),
    ],
)
def test_names_without_torch(line: str, names: list[str]) -> None:
    assert asked(line) == names


def test_zsh_too() -> None:
    assert any("nv_embed" in each for each in asked("bothways train nv", "zsh"))


def test_files_are_left_to_the_shell() -> None:
    """Without a name that fits, the script of the shell completes files."""
    assert asked("bothways report res") == []


def test_it_installs_itself(tmp_path: Path) -> None:
    environ = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-c", "from bothways.cli import main; main()", "--install-completion", "bash"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "completion installed" in done.stdout, done.stdout + done.stderr
    script = next(path for path in tmp_path.rglob("bothways.sh"))
    assert "_BOTHWAYS_COMPLETE=complete_bash" in script.read_text() and str(script) in (tmp_path / ".bashrc").read_text()
