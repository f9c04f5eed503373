"""The measured language model: losses under plans equal plain transformers and stay small; shifted groups; stretched positions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bothways as bw
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.rope import RopeConfig
from bothways.errors import InputError
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_model import load_language_model
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.perplexity import Perplexity
from tiny import SENTENCES, tiny_llama
from unit.cli.cli_runner import runner

TEXTS = [" ".join(SENTENCES)]


def opened(folder: Path) -> CausalLM:
    return load_language_model(folder, dtype="float32", device="cpu")


def test_results_tell_shifted_groups_from_full_attention(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text(TEXTS[0], encoding="utf-8")
    made, full = (make_task(f"perplexity:{path}?length=64{more}") for more in ("&shifted=true", "&shifted=false"))
    groups = {"ratio": 0.25, "size": None, "shift": "heads", "toward": "left", "wrap": "none", "at_test": True}
    assert made.settings == {**full.settings, "shifted": groups}
    assert "shifted" not in full.settings, "else earlier results under full attention would not be taken up again"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (ShiftedGroups(), r"do not run in evaluation mode; pass ShiftedGroups\(at_test=True\)"),
        (ShiftedGroups(at_test=True, wrap="roll"), "wrap='roll' let a token see the one it predicts"),
    ],
)
def test_groups_that_measure_nothing_are_refused(groups, message):
    with pytest.raises(InputError, match=message):
        Perplexity(TEXTS, name="p", length=64, shifted=groups)


@pytest.mark.parametrize("kind", ["linear", "yarn", "dynamic"])
def test_the_command_line_stretches_positions_of_a_language_model(kind, tmp_path, capsys):
    base, out = tiny_llama(tmp_path / "base"), tmp_path / "r.json"
    (tmp_path / "x.txt").write_text(" ".join(TEXTS * 5), encoding="utf-8")
    spec = f"perplexity:{tmp_path / 'x.txt'}?length=1024&stride=1024&windows=1"
    done = runner(capsys)(
        "evaluate",
        base,
        "--task",
        spec,
        "--context",
        1024,
        "--rope",
        kind,
        "--out",
        out,
        "--device",
        "cpu",
        "--dtype",
        "float32",
    )
    assert done.code == 0, done.err
    saved = json.loads(out.read_text())["tasks"][spec]
    assert (saved["details"]["rope"]["rope_type"], saved["details"]["rope"]["factor"]) == (kind, 2.0)
    encoder = bw.convert(
        base, direction="causal", rope={"type": kind, "context": 1024}, dtype="float32", device="cpu", max_length=1024
    )
    expected = make_task(spec).run(encoder, RunOptions(show_progress_bar=False)).metrics["loss"]
    assert saved["metrics"]["loss"] == pytest.approx(expected, rel=1e-5)
    plain = make_task(spec).run(opened(base), RunOptions(show_progress_bar=False)).metrics["loss"]
    assert abs(saved["metrics"]["loss"] - plain) > 1e-4


def test_stretching_is_refused_where_it_would_mean_nothing(tmp_path, capsys):
    base, run = tiny_llama(tmp_path / "base"), runner(capsys)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"sentence1": "a", "sentence2": "b", "score": n}) + "\n" for n in range(3)))
    encoder = tmp_path / "encoder"
    bw.convert(base, direction="causal", dtype="float32", device="cpu").save(encoder)
    for model, task in ((base, f"sts:{pairs}"), (encoder, "topics"), ("bm25", f"sts:{pairs}")):
        done = run("evaluate", model, "--task", task, "--context", 1024)
        assert done.code == 2 and done.err.count("\n") == 1, done.err
        assert done.err.startswith("error: --context 1024: only for a base that every task measures as a language model")
    assert run("evaluate", base, "--task", "topics", "--rope", "yarn").err.startswith("error: --rope yarn: needs --context")
    assert run("evaluate", base, "--task", "topics", "--factor", 4).err.startswith("error: --factor 4: needs --context")
    assert "rope: type: Input should be" in run("evaluate", base, "--task", "topics", "--context", 1024, "--rope", "ntk").err


def test_a_context_gives_the_positions_of_conversion(tmp_path):
    base = tiny_llama(tmp_path / "base")
    model = load_language_model(base, dtype="float32", device="cpu", rope=RopeConfig(context=2048))
    assert model.positions == 2048
    assert {"rope_type": "linear", "factor": 4.0}.items() <= (model.rope or {}).items()


def test_positions_that_were_stretched_before_are_measured_at_a_greater_factor(tmp_path, capsys):
    """LongLoRA's result beyond the context of its training: positions alone are stretched further."""
    base = tiny_llama(tmp_path / "base", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0})
    (tmp_path / "x.txt").write_text(" ".join(TEXTS * 5), encoding="utf-8")
    spec = f"perplexity:{tmp_path / 'x.txt'}?length=1024&stride=1024&windows=1"
    given = ("evaluate", base, "--task", spec, "--context", 1024, "--device", "cpu", "--dtype", "float32")
    assert "is already interpolated (linear, factor 2.0); give rope.factor (--factor)" in runner(capsys)(*given).err
    done = runner(capsys)(*given, "--factor", 4, "--out", tmp_path / "r.json")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "r.json").read_text())["tasks"][spec]["details"]["rope"]["factor"] == 4.0
