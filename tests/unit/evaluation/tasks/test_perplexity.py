"""Perplexity against transformers' own loss in a naive loop; what is refused; encoders and the
command line as doors to it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

import bothways as bw
from bothways.attention.interface import recording
from bothways.errors import DirectionError, InputError
from bothways.evaluation.language_model import causal_model
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_model import as_language_model, load_language_model
from bothways.evaluation.registry import make_task
from bothways.evaluation.results import Results
from bothways.evaluation.task import RunOptions, Score
from bothways.evaluation.tasks.perplexity import Perplexity
from tiny import SENTENCES, tiny_llama, tiny_model
from unit.cli.cli_runner import runner

TEXTS = [" ".join(SENTENCES[start:] + SENTENCES[:start]) for start in range(3)]
# float32 sums of a few hundred terms in another order, amplified by exp; a wrong window or position
# is off by 1e-2 and more
EXACT = 1e-5


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def model(base: Path) -> CausalLM:
    return load_language_model(base, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def reference(base: Path):
    return AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32).eval()


def stream_of(model: CausalLM, texts: list[str] = TEXTS) -> list[int]:
    ids: list[int] = []
    for number, text in enumerate(texts):
        ids += [model.tokenizer.eos_token_id] * (number > 0) + model.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def task(**options) -> Perplexity:
    return Perplexity(TEXTS, name="p", **options)


def run(model, measured: Perplexity, batch_tokens: int | None = None) -> Score:
    return measured.run(model, RunOptions(batch_tokens=batch_tokens, show_progress_bar=False))


def naive_all(reference, ids: list[int], length: int, stride: int) -> float:
    losses = []
    for start in range(0, len(ids), stride):
        window = torch.tensor([ids[start : start + length]])
        if window.shape[1] == length:
            with torch.no_grad():
                losses.append(float(reference(input_ids=window, labels=window).loss))
    return math.exp(sum(losses) / len(losses))


def naive_new(reference, ids: list[int], length: int, stride: int) -> float:
    """The loop of transformers' own guide to perplexity: context is labelled -100."""
    total = scored = previous = 0
    for start in range(0, len(ids), stride):
        end = min(start + length, len(ids))
        window = torch.tensor([ids[start:end]])
        labels = window.clone()
        labels[:, : -(end - previous)] = -100
        with torch.no_grad():
            loss = float(reference(input_ids=window, labels=labels).loss)
        count = int((labels[:, 1:] != -100).sum())
        total, scored, previous = total + loss * count, scored + count, end
        if end == len(ids):
            break
    assert scored == len(ids) - 1
    return math.exp(total / scored)


@pytest.mark.parametrize(("length", "stride", "batch_tokens"), [(64, 16, 1024), (100, 37, 1), (33, 33, None)])
def test_equals_a_naive_loop_with_the_models_own_loss(model, reference, monkeypatch, length, stride, batch_tokens):
    monkeypatch.setattr(causal_model, "HEAD_CHUNK", 29)  # no divisor of anything here, so that the last chunk is ragged
    found = run(model, task(length=length, stride=stride), batch_tokens).metrics
    assert found["perplexity"] == pytest.approx(naive_all(reference, stream_of(model), length, stride), rel=EXACT)
    assert found["loss"] == pytest.approx(math.log(found["perplexity"]), rel=1e-12)


@pytest.mark.parametrize(("length", "stride"), [(64, 16), (100, 37), (33, 32), (5000, 256)])
def test_scoring_new_tokens_only_equals_transformers_guide(model, reference, length, stride):
    score = run(model, task(length=length, stride=stride, scored="new"))
    ids = stream_of(model)
    assert score.metrics["perplexity"] == pytest.approx(naive_new(reference, ids, length, stride), rel=EXACT)
    assert score.details["scored_tokens"] == len(ids) - 1


def test_the_two_protocols_differ(model):
    published, usual = (run(model, task(length=64, stride=16, scored=scored)).metrics["loss"] for scored in ("all", "new"))
    assert abs(published - usual) > 1e-3


def test_lone_surrogates_are_read_as_the_replacement_character(model):
    found, expected = (
        run(model, Perplexity([" ".join(TEXTS) + mark], name="p", length=32, stride=32, scored="all")).details
        for mark in ("\ud800 a cat", "\ufffd a cat")
    )
    assert found["window_losses"] == expected["window_losses"]
    assert model.tokens("\ud800") == model.tokens("\ufffd")


def test_the_incomplete_last_window_is_dropped(model):
    whole = len(stream_of(model))
    score = run(model, task(length=64, stride=16))
    assert score.details["windows"] == (whole - 64) // 16 + 1
    longer = Perplexity([*TEXTS[:-1], TEXTS[-1] + " A cat"], name="p", length=64, stride=16)
    added = len(model.tokenizer(" A cat", add_special_tokens=False)["input_ids"])
    assert (whole - 64) % 16 + added < 16, "the longer text must not complete a window"
    assert run(model, longer).details["window_losses"] == score.details["window_losses"]


@pytest.mark.parametrize("scored", ["all", "new"])
def test_a_limit_takes_the_first_windows_and_reads_no_further(model, scored, monkeypatch):
    whole = run(model, task(length=64, stride=16, scored=scored)).details["window_losses"]
    read: list[str] = []
    tokens = CausalLM.tokens
    monkeypatch.setattr(CausalLM, "tokens", lambda self, text: read.append(text) or tokens(self, text))
    some = run(model, task(length=64, stride=16, scored=scored, windows=2)).details["window_losses"]
    assert some == pytest.approx(whole[:2], abs=1e-5)
    assert read == TEXTS[:1]


def test_logits_never_cover_more_than_a_chunk(base, monkeypatch):
    monkeypatch.setattr(causal_model, "HEAD_CHUNK", 32)
    model = load_language_model(base, dtype="float32", device="cpu")
    seen: list[int] = []
    model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[0]))
    run(model, task(length=200, stride=200, windows=1))
    assert sum(seen) == 199
    assert max(seen) == 32


def test_a_causal_encoder_is_measured_with_its_bases_head(base, model):
    encoder = bw.convert(base, direction="causal", dtype="float32", device="cpu")
    measured = task(length=64, stride=16)
    plain = run(model, measured).metrics["loss"]
    with recording() as executed:
        assert run(encoder, measured).metrics["loss"] == pytest.approx(plain, rel=EXACT)
    plans = [plan for plan, _ in executed]
    assert plans and None not in plans, (
        "without a plan the encoder's own attention draws a mask of L × L, too much for long texts"
    )
    assert encoder.backbone.config._attn_implementation == "bothways"
    with torch.no_grad():
        for parameter in encoder.backbone.layers[-1].parameters():
            parameter.mul_(0.5)
    assert abs(run(encoder, measured).metrics["loss"] - plain) > 1e-4, "the encoder's own weights were not measured"


def test_a_tied_head_follows_the_encoders_embeddings(tmp_path):
    base = tiny_llama(tmp_path / "tied", tie_word_embeddings=True)
    encoder = bw.convert(base, direction="causal", dtype="float32", device="cpu")
    weight = encoder.backbone.get_input_embeddings().weight
    with torch.no_grad():
        weight.mul_(0.7)
    trained = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32).eval()
    with torch.no_grad():
        trained.get_input_embeddings().weight.mul_(0.7)
    found = run(encoder, task(length=64, stride=16)).metrics["perplexity"]
    assert found == pytest.approx(naive_all(trained, stream_of(load_language_model(base)), 64, 16), rel=EXACT)


def test_what_has_no_perplexity_is_refused(base):
    encoder = bw.convert(base, dtype="float32", device="cpu")
    with pytest.raises(InputError, match="is bidirectional here, and perplexity and generation need a causal model"):
        run(encoder, task(length=64))
    with pytest.raises(InputError, match="object is not a language model"):
        run(object(), task(length=64))
    encoder = bw.convert(base, direction="causal", dtype="float32", device="cpu")
    del encoder.provenance["base"]
    with pytest.raises(InputError, match="does not name its base"):
        run(encoder, task(length=64))


def test_a_folder_that_says_bidirectional_is_refused(base, tmp_path):
    folder = tmp_path / "turned"
    tiny_llama(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "is_causal": False}))
    with pytest.raises(InputError, match=r"turned is bidirectional, and"):
        run(load_language_model(folder, dtype="float32", device="cpu"), task(length=64))


def test_a_model_that_only_claims_to_be_causal_is_caught(base):
    model = load_language_model(base, dtype="float32", device="cpu")
    forward = model.backbone.forward

    def leaking(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.last_hidden_state = output.last_hidden_state + output.last_hidden_state.mean(1, keepdim=True)
        return output

    model.backbone.forward = leaking
    with pytest.raises(DirectionError, match="claims to be causal, but token 1 sees token 2"), as_language_model(model):
        pass
    model.backbone.forward = lambda *args, **kwargs: forward(input_ids=torch.full_like(kwargs["input_ids"], 7))
    with pytest.raises(DirectionError, match="the states do not react to the tokens"), as_language_model(model):
        pass


def test_a_table_of_positions_is_not_exceeded(tmp_path):
    folder = tiny_model(tmp_path / "gpt2", GPT2Config, n_embd=32, n_layer=2, n_head=4, n_positions=48)
    model = load_language_model(folder, dtype="float32", device="cpu")
    reference = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    found = run(model, task(length=48, stride=20)).metrics["perplexity"]
    assert found == pytest.approx(naive_all(reference, stream_of(model), 48, 20), rel=EXACT)
    with pytest.raises(InputError, match="a table of 48 positions, so 49 tokens do not fit"):
        run(model, task(length=49, stride=20))


def test_interpolated_positions_reach_the_model(base):
    plain = load_language_model(base, dtype="float32", device="cpu")
    scaled = load_language_model(base, dtype="float32", device="cpu", rope={"rope_type": "linear", "factor": 4.0})
    first, second = (run(model, task(length=64, stride=16)) for model in (plain, scaled))
    assert scaled.rope == {**plain.rope, "rope_type": "linear", "factor": 4.0} == second.details["rope"]
    assert abs(first.metrics["loss"] - second.metrics["loss"]) > 1e-5
    # positions divided by the factor are what interpolation is
    ids = torch.tensor([stream_of(plain)[:64]])
    places = torch.arange(64)[None] / 4
    expected = plain.backbone(input_ids=ids, position_ids=places).last_hidden_state
    found = scaled.backbone(input_ids=ids).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 1}, "length must be at least 2 tokens"),
        ({"length": 8, "stride": 9}, "stride must be from 1 to 8"),
        ({"length": 8, "stride": 8, "scored": "new"}, "stride must be from 1 to 7"),
        ({"windows": 0}, "windows must be at least 1"),
        ({"scored": "some"}, "scored must be one of all, new"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        task(**options)


def test_a_text_shorter_than_a_window_says_what_would_fit(model):
    count = len(stream_of(model))
    with pytest.raises(InputError, match=f"has {count} tokens, fewer than one window of 2048; choose length={count} or less"):
        run(model, task())
    assert run(model, task(length=count)).details["windows"] == 1


def test_a_specification_carries_length_and_stride(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    made = make_task(f"perplexity:{path}?length=64&stride=16&windows=3&scored=new&unit=line")
    assert isinstance(made, Perplexity)
    assert made.settings == {"length": 64, "stride": 16, "windows": 3, "scored": "new"}
    assert made.name == f"perplexity:{path}?length=64&stride=16&windows=3&scored=new&unit=line"
    assert made.fingerprint == task().fingerprint
    assert [
        task(length=length, scored=scored).settings["stride"] for length, scored in ((512, "all"), (64, "all"), (64, "new"))
    ] == [*(256, 64, 63)]
    with pytest.raises(InputError, match="needs a path; write perplexity:TEXT"):
        make_task("perplexity")


def test_a_book_is_one_text_and_its_lines_are_texts_on_request(tmp_path, model):
    path = tmp_path / "book.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    book, lines = (make_task(f"perplexity:{path}{more}") for more in ("", "?unit=line"))
    assert book.texts == ["\n".join(TEXTS)]
    assert lines.texts == TEXTS
    separators = [int((made._stream(model) == model.tokenizer.eos_token_id).sum()) for made in (book, lines)]
    assert separators == [0, len(TEXTS) - 1]
    with pytest.raises(InputError, match=r"unit must be one of auto, line \(got 'page'\)"):
        make_task(f"perplexity:{path}?unit=page")


def test_a_column_of_any_name_is_read_when_it_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"number": 1, "chapter": text}) + "\n" for text in TEXTS), encoding="utf-8")
    with pytest.raises(InputError, match=r"name it with column=, one of: .*chapter"):
        make_task(f"perplexity:{path}")
    assert make_task(f"perplexity:{path}?column=chapter").fingerprint == task().fingerprint


def test_the_command_line_opens_a_base_as_a_language_model(base, tmp_path, capsys):
    path, out = tmp_path / "texts.txt", tmp_path / "results.json"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    spec = f"perplexity:{path}?length=64&stride=16"
    options = ["--device", "cpu", "--dtype", "float32"]
    done = runner(capsys)("evaluate", base, "--task", spec, "--out", out, *options)
    assert done.code == 0, done.err
    saved = Results.load(out)
    assert f"{saved.main[spec]:.4f}" in done.out
    told = {"class": "CausalLM", "name": str(base), "direction": "causal", "dtype": "float32", "device": "cpu"}
    assert told.items() <= saved.provenance["model"].items()
    refused = runner(capsys)("evaluate", base, "--task", spec, "--direction", "bidirectional", *options)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(
        f"error: task {spec!r}: measures a language model, but the other tasks and options make {base} a bidirectional"
    )
