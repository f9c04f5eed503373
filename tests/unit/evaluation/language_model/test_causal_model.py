"""A causal model under a plan equals plain transformers, in losses and in continuations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, GPTJConfig, LlamaConfig, MistralConfig

from bothways.attention.interface import recording
from bothways.attention.plan import AttentionPlan
from bothways.attention.shifted import ShiftedGroups
from bothways.backbone.rope import RopeConfig
from bothways.errors import DirectionError, UnsupportedFamily
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_model import as_language_model, load_language_model
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.perplexity import Perplexity
from tiny import SENTENCES, TINY, tiny_llama, tiny_model

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
    # transformers 5.20 runs Gemma 2 with SDPA, which leaves out the cap of its scores
    chosen = {"attn_implementation": "eager"} if family == "gemma2" else {}
    plain = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, **chosen).eval()
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
    chosen = {"attn_implementation": "eager"} if family == "gemma2" else {}
    plain = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, **chosen).eval()
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
