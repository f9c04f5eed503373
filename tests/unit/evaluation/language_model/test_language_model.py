"""The measured language model: losses under plans equal plain transformers and stay small; shifted groups; stretched positions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, GPTJConfig, LlamaConfig, MistralConfig

import bothways as bw
from bothways.attention.interface import recording
from bothways.attention.plan import AttentionPlan
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.rope import RopeConfig
from bothways.errors import DirectionError, InputError, UnsupportedFamily
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_model import as_language_model, load_language_model
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.perplexity import Perplexity
from tiny import SENTENCES, TINY, tiny_llama, tiny_model
from unit.cli.cli_runner import runner

WINDOW = 16
TEXTS = [" ".join(SENTENCES)]
GROUPS = ShiftedGroups(at_test=True)
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
GEMMA = {
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": WINDOW,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 5.0,
}
FAMILIES = {
    "llama": (LlamaConfig, TINY),
    "mistral": (MistralConfig, {**TINY, "sliding_window": WINDOW}),
    "gemma2": (Gemma2Config, {**TINY, **GEMMA}),
    "gpt2": (GPT2Config, GPT),
}


def rows(count: int, length: int) -> torch.Tensor:
    return torch.randint(5, 380, (count, length), generator=torch.Generator().manual_seed(0))


def opened(folder: Path) -> CausalLM:
    return load_language_model(folder, dtype="float32", device="cpu")


def losses_of(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_under_a_plan_equal_plain_transformers(family, tmp_path):
    kind, fields = FAMILIES[family]
    folder = tiny_model(tmp_path / family, kind, **fields)
    plain = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    ids = rows(3, 5 * WINDOW)
    with torch.no_grad():
        expected = losses_of(plain(ids).logits, ids)
    model = opened(folder)
    with recording() as executed:
        torch.testing.assert_close(model.token_losses(ids), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.token_losses(ids, 7), expected[:, -7:], atol=1e-5, rtol=0)
    assert {plan for plan, _ in executed} == {AttentionPlan((5 * WINDOW,) * 3, "causal")}
    windows = {window for _, window in executed}
    assert (WINDOW in windows) == (family in ("mistral", "gemma2"))
    # a token after the first is left to the attention that transformers chose
    assert model.backbone.config._attn_implementation == plain.config._attn_implementation


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_is_gone_on_with_as_transformers_does(family, tmp_path):
    kind, fields = FAMILIES[family]
    # a tied head of random weights repeats its token
    folder = tiny_model(tmp_path / family, kind, **{**fields, "tie_word_embeddings": False})
    plain = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    row = rows(1, 5 * WINDOW)
    # enough for a window to move on
    options = {"max_new_tokens": WINDOW + 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    expected = plain.generate(row, attention_mask=torch.ones_like(row), **options)[0, row.shape[1] :].tolist()
    model = opened(folder)
    with recording() as executed:
        assert model.greedy(row[0].tolist(), WINDOW + 4) == expected
    assert len(set(expected)) > 1, "a model that repeats one token shows nothing"
    # the text once, under a plan; the rest off its keys and values
    assert [plan for plan, _ in executed] == [AttentionPlan((5 * WINDOW,), "causal")] * plain.config.num_hidden_layers


def test_a_family_that_takes_no_plan_is_measured_as_it_is(tmp_path):
    folder = tiny_model(tmp_path / "gptj", GPTJConfig, **GPT, rotary_dim=4)
    plain = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    model, ids = opened(folder), rows(2, 40)
    assert model.execution == "padded"
    with torch.no_grad():
        torch.testing.assert_close(model.token_losses(ids), losses_of(plain(ids).logits, ids), atol=1e-5, rtol=0)
    with pytest.raises(UnsupportedFamily, match=r"gptj: cannot run in shifted groups, .* does not take plans") as caught:
        Perplexity(TEXTS, name="p", length=32, shifted=GROUPS).run(model, RunOptions(show_progress_bar=False))
    assert "\n" not in str(caught.value)


class Largest(TorchDispatchMode):
    """Numbers of the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(t.numel() for t in tree_leaves(made) if isinstance(t, torch.Tensor))])
        return made


def test_a_long_row_through_a_window_makes_nothing_quadratic(tmp_path):
    model, length = opened(tiny_model(tmp_path / "mistral", MistralConfig, **{**TINY, "sliding_window": 64})), 4096
    with Largest() as seen:
        model.token_losses(rows(1, length))
        model.greedy(rows(1, length)[0].tolist(), 2)
    # states (L, 64) and the mask of a block of queries are there; a mask or scores of L × L would be 16 million numbers
    assert length * 64 <= seen.numbers < length * length / 8


def test_a_leak_of_the_planned_way_alone_is_caught(tmp_path, monkeypatch):
    model = opened(tiny_llama(tmp_path / "base"))
    states = CausalLM.states

    def leaking(self, ids, **options):
        found = states(self, ids, **options)
        return found + found.mean(1, keepdim=True)

    monkeypatch.setattr(CausalLM, "states", leaking)
    with pytest.raises(DirectionError, match="claims to be causal, but token 1 sees token 2"), as_language_model(model):
        pass


def test_shifted_groups_equal_dense_masks_of_every_head(tmp_path):
    folder = tiny_llama(tmp_path / "base")
    plain = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, attn_implementation="eager").eval()
    model, ids = opened(folder), rows(2, 61)
    seen = AttentionPlan((61,), "causal", GROUPS).dense_heads(4)
    mask = torch.zeros(1, 4, 61, 61).masked_fill(~seen, torch.finfo(torch.float32).min)
    with torch.no_grad():
        expected = losses_of(plain(ids, attention_mask=mask.expand(2, -1, -1, -1)).logits, ids)
    torch.testing.assert_close(model.token_losses(ids, shifted=GROUPS), expected, atol=1e-5, rtol=0)
    assert float((model.token_losses(ids) - expected).abs().max()) > 1e-3, "groups made no difference to be seen"

    measured, full = (Perplexity(TEXTS, name="p", length=64, stride=64, shifted=groups) for groups in (GROUPS, None))
    scores = [task.run(model, RunOptions(show_progress_bar=False)) for task in (measured, full)]
    stream = torch.tensor([model.tokens(TEXTS[0])])
    count = scores[0].details["windows"]
    windows = stream[0, : 64 * count].view(count, 64)
    expected_loss = float(model.token_losses(windows, shifted=GROUPS).mean())
    assert scores[0].metrics["loss"] == pytest.approx(expected_loss, rel=1e-5)
    assert scores[0].metrics["loss"] != scores[1].metrics["loss"]
    assert scores[0].details["shifted"]["at_test"] is True and "shifted" not in scores[1].details


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


@pytest.mark.parametrize("execution", ["packed", "padded"])
def test_dynamic_positions_do_not_depend_on_what_was_read_before(tmp_path, execution):
    base = tiny_llama(tmp_path / "base", max_position_embeddings=32)
    model = load_language_model(base, dtype="float32", device="cpu", rope=RopeConfig(type="dynamic", context=256))
    assert model.execution == "packed"
    model.execution = execution
    row, long = torch.arange(5, 69)[None], torch.arange(5, 261)[None] % 90 + 5
    alone, said = model.token_losses(row), model.greedy(row[0].tolist(), 5)
    after = model.token_losses(long)
    assert torch.equal(model.token_losses(row), alone)
    model.token_losses(long)
    assert model.greedy(row[0].tolist(), 5) == said
    assert torch.isfinite(after).all()
