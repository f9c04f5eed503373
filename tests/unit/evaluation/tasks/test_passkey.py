"""Passkey prompts: deterministic, of exact length, the key where it should be; and that only the
right number counts.
"""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import torch
from transformers import AutoModelForCausalLM

import bothways as bw
from bothways.errors import InputError
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_model import load_language_model
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks import passkey
from bothways.evaluation.tasks.passkey import FILLER, Passkey, continuation, fit, published_characters, write
from tiny import tiny_llama

QUIET = RunOptions(show_progress_bar=False)
LENGTHS = (320, 431)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("models") / "base", tokenizer={"add_bos": True, "add_eos": True})


@pytest.fixture(scope="module")
def model(folder) -> CausalLM:
    return load_language_model(folder, dtype="float32", device="cpu")


class Oracle(CausalLM):
    """Reads the key off the prompt, if it stands within the last `reach` tokens: a model that can
    look back only so far.
    """

    reach = 10**9

    def greedy(self, ids, count):
        visible = self.tokenizer.decode(ids[-self.reach :])
        found = re.search(r"The pass key is (\d+)\. Remember", visible)
        return self.tokens(f" {found[1] if found else 0}")[:count]


@pytest.fixture(scope="module")
def oracle(model) -> Oracle:
    return Oracle(model.backbone, model.head, model.tokenizer)


def test_prompts_have_exactly_the_tokens_asked_for_and_hold_the_key_at_its_depth(model):
    task = Passkey(LENGTHS)
    for length in LENGTHS:
        for depth in task.depths:
            for prompt in task.prompts(model, length, depth, seed=0):
                assert len(prompt.ids) == length
                assert prompt.ids == model.prompt(prompt.text)
                assert prompt.ids[0] == model.tokenizer.bos_token_id
                assert model.tokenizer.eos_token_id not in prompt.ids
                assert model.tokenizer.decode(prompt.answer) == f" {prompt.key}"
                lines = prompt.text.split("\n")
                assert len(lines) == 5
                assert lines[2] == f"The pass key is {prompt.key}. Remember it. {prompt.key} is the pass key."
                before, after = len(lines[1]), len(lines[3])
                assert before == round(depth * (before + after))
                assert (FILLER * 100).startswith(lines[1])
                assert (FILLER * 100).startswith(lines[3])


def test_the_same_seed_gives_the_same_prompts_whatever_else_is_measured(model):
    alone = Passkey((431,), depths=(0.5,)).prompts(model, 431, 0.5, seed=3)
    among = Passkey((320, 431), depths=(0, 0.5)).prompts(model, 431, 0.5, seed=3)
    other = Passkey((431,), depths=(0.5,)).prompts(model, 431, 0.5, seed=4)
    assert alone == among
    assert len({prompt.key for prompt in alone + other}) == 6


def test_the_exact_length_is_found_wherever_the_count_jumps():
    """A count that is flat, rises by one, and falls back by one within a word, as tokenizers'
    counts do.
    """

    def count(characters: int) -> int:
        return 40 + characters // 4 + (characters % 12 == 7) - (characters % 20 == 9)

    for length in range(40, 400):
        assert count(fit(count, length)) == length
        assert count(fit(count, length, guess=5000)) == length
    with pytest.raises(InputError, match="40 tokens without any filler"):
        fit(count, 39)
    with pytest.raises(InputError, match="no amount of filler gives exactly 101 tokens"):
        fit(lambda characters: 2 * (characters // 8), 101)


def test_the_published_style_counts_characters_and_draws_depths(model, oracle):
    assert [published_characters(tokens) for tokens in (273, 274, 1000, 2000, 32_000)] == [0, 1024, 3072, 7168, 119_808]
    task = Passkey((300, 600), style="published")
    prompts = task.prompts(model, 600, None, seed=0)
    assert len(prompts) == 10
    assert len({prompt.depth for prompt in prompts}) == 10
    for prompt in prompts:
        _, before, _, after, _ = prompt.text.split("\n")
        assert len(before) + len(after) == 2048
    score = task.run(oracle, QUIET)
    assert score.details["depths"] is None
    # about what was asked for, and never said to be more than measured
    assert score.details["tokens"][1] == sum(len(prompt.ids) for prompt in prompts) / 10
    assert task.picture(score.details)[1].split() == ["random", "██", "100", "██", "100"]


def test_a_model_that_sees_the_key_gets_everything_and_one_that_looks_back_too_short_only_the_end(model):
    task = Passkey((400,), depths=(0, 1), repeats=2)
    oracle = Oracle(model.backbone, model.head, model.tokenizer)
    whole = task.run(oracle, QUIET)
    assert whole.metrics == {"accuracy": 1.0, "accuracy[400]": 1.0}
    oracle.reach = 120
    near = task.run(oracle, QUIET)
    assert near.metrics["accuracy"] == 0.5
    assert near.details["accuracy"] == [[0.0], [1.0]]
    assert near.details["items"]["values"] == [0.0, 0.0, 1.0, 1.0]
    wrong = near.details["items"]["texts"][0]
    assert wrong["prompt"] == "400 tokens, key after 0% of the filler"
    assert wrong["answer"].startswith("0")
    assert near.details["tokens"] == [400.0]


def test_the_table_has_depths_down_and_lengths_across(model):
    oracle = Oracle(model.backbone, model.head, model.tokenizer)
    oracle.reach = 500
    task = Passkey((900, 400), depths=(1, 0), repeats=2)
    score = task.run(oracle, QUIET)
    assert (score.details["lengths"], score.details["depths"]) == ([400, 900], [0.0, 1.0])
    assert score.details["accuracy"] == [[1.0, 0.0], [1.0, 1.0]]
    assert score.metrics == {"accuracy": 0.75, "accuracy[400]": 1.0, "accuracy[900]": 0.5}
    assert [line.split()[-1] for line in task.picture(score.details)] == ["900", "0", "100"]


def test_a_key_that_is_only_begun_does_not_count(model):
    class Short(Oracle):
        def greedy(self, ids, count):
            return super().greedy(ids, count)[:-1]

    assert Passkey((400,), repeats=1).run(Short(model.backbone, model.head, model.tokenizer), QUIET).metrics["accuracy"] == 0


def test_greedy_decoding_equals_transformers_generate_and_reading_everything_again(folder, model):
    reference = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    ids = Passkey((320,)).prompts(model, 320, 0.5, seed=0)[0].ids
    row = torch.tensor([ids])
    whole = reference.generate(row, attention_mask=torch.ones_like(row), max_new_tokens=12, do_sample=False)[0].tolist()
    expected = whole[len(ids) :]
    found = model.greedy(ids, 12)
    assert found == expected
    assert len(set(found)) > 1, "a model that repeats one token shows nothing"
    again: list[int] = []
    for _ in found:
        with torch.no_grad():
            again.append(int(reference(torch.tensor([ids + again])).logits[0, -1].argmax()))
    assert found == again


def test_a_family_without_a_cache_reads_everything_again(model, monkeypatch):
    ids = model.prompt("The river runs from")
    expected = model.greedy(ids, 6)
    forward = model.backbone.forward
    lengths: list[int] = []

    def uncached(*args, **kwargs):
        lengths.append(kwargs["input_ids"].shape[1])
        output = forward(*args, **{**kwargs, "use_cache": False})
        return type("Output", (), {"last_hidden_state": output.last_hidden_state})

    monkeypatch.setattr(model.backbone, "forward", uncached)
    assert model.greedy(ids, 6) == expected
    assert all(b == a + 1 for a, b in pairwise(lengths))


def test_an_eos_ends_the_answer(folder):
    model = load_language_model(folder, dtype="float32", device="cpu")
    ids = model.prompt("The river runs from")
    whole = model.greedy(ids, 6)
    model.tokenizer.eos_token = model.tokenizer.convert_ids_to_tokens(whole[2])
    assert model.greedy(ids, 6) == whole[: whole.index(whole[2])]


def test_a_joined_seam_is_asked_of_the_model(model):
    class Joined(CausalLM):
        def prompt(self, text):
            return [ord(c) for c in text.replace("is 1", "§")]

    assert continuation(Joined(model.backbone, model.head, model.tokenizer), "key is", " 12") == (
        [ord(c) for c in "key "],
        [ord("§"), ord("2")],
    )


def test_specifications_and_wrong_options():
    made = make_task("passkey?lengths=4096,512&depths=0.5,0&repeats=4")
    assert isinstance(made, Passkey)
    assert made.settings == {"lengths": [512, 4096], "depths": [0.0, 0.5], "repeats": 4, "style": "exact"}
    assert make_task("passkey").settings["repeats"] == 3
    assert make_task("passkey?style=published").settings == {
        "lengths": [512, 1024, 2048, 4096],
        "depths": None,
        "repeats": 10,
        "style": "published",
    }
    for spec, message in [
        ("passkey:512", "does not take an argument"),
        ("passkey?lengths=512,x", "lengths must be a whole number"),
        ("passkey?lengths=512,512", "lengths must be different numbers"),
        ("passkey?depths=0,2", "depths must be different numbers from 0 to 1"),
        ("passkey?repeats=0", "repeats must be at least 1"),
    ]:
        with pytest.raises(InputError, match=message):
            make_task(spec)


def test_a_length_below_the_bare_prompt_is_refused_before_the_model_runs(model, monkeypatch):
    monkeypatch.setattr(CausalLM, "greedy", lambda *_: pytest.fail("the model ran"))
    least = len(model.prompt(write(0, 0.5, 12345)))
    with pytest.raises(InputError, match="without any filler; choose a length of"):
        Passkey((least // 2,)).run(model, QUIET)


def test_keys_are_the_published_range():
    assert (passkey.KEYS.start, passkey.KEYS.stop) == (1, 50_000)


@pytest.mark.parametrize("spec", ["passkey?lengths=400,1000000&repeats=1", "topics?lengths=400,1000000&repeats=1"])
def test_lengths_far_beyond_the_positions_are_refused_before_any_work(model, monkeypatch, spec):
    """Rotary positions go on for ever; the prompts of such a length would take all memory."""
    monkeypatch.setattr(type(model), "prompt", lambda *arguments: pytest.fail("a prompt was made"))
    with pytest.raises(InputError, match="1000000 tokens are more than 4 times its 512 positions"):
        bw.evaluate(model, ["passkey?lengths=400&repeats=1", f"{spec}&name=far"])


def test_lengths_a_little_beyond_the_positions_are_said(model, caplog):
    """Whether a model answers there is a fair question (LongLoRA asks it)."""
    caplog.set_level("WARNING", logger="bothways")
    model.require_reach(512)
    assert not caplog.messages
    model.require_reach(1024)
    assert "1024 tokens are more than its 512 positions" in caplog.text
