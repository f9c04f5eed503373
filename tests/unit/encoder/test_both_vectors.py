"""Both LLaRA vectors in one pass: against the row written out by hand, against two separate passes,
on disk, on the command line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModel, FalconConfig

import bothways as bw
from bothways.attention import run
from bothways.backbone.adapter.new_tokens import add_tokens
from bothways.data.text.passages import Passage
from bothways.encoder.both_vectors import rows_of
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.head_modules import with_mlp
from bothways.encoder.questions import Questions
from bothways.errors import InputError, UnsupportedFamily
from bothways.objectives.contrastive_base import mlp_layer
from bothways.objectives.llara_rows import make_rows
from bothways.recipes.llara import FORMS
from tiny import SENTENCES, tiny_llama, tiny_model
from unit.cli.cli_runner import Run, runner
from unit.training.stage.test_llara import DOCUMENTS, adaptation, llara

CPU: dict[str, Any] = {"dtype": "float32", "device": "cpu"}
LONG = " ".join(SENTENCES * 4)
TEXTS = [*SENTENCES, "", "Yes.", LONG]
NEAR = 1e-5


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True, "add_eos": True, "vocab_size": 420})


def made(base: Path, mode: str = "code", **options: Any) -> Encoder:
    form = FORMS[mode]
    given = {"direction": "causal", "pooling": form.pooling, "prompts": form.prompts, "max_length": 128, **CPU, **options}
    encoder = bw.convert(base, **given)
    add_tokens(encoder.backbone, encoder.tokenizer, form.new_tokens or (), seed=2)
    return encoder


def by_hand(base: Path, encoder: Encoder, text: str, mode: str) -> list[np.ndarray]:
    """Both vectors of one text: the authors' row, its mask drawn entry by entry, in transformers'
    eager attention, float64.
    """
    tokenizer, form = encoder.tokenizer, FORMS[mode]

    def plain(part: str) -> list[int]:
        return tokenizer(part, add_special_tokens=False)["input_ids"]

    before, summarize = form.prompts["document"].replace("{eos}", tokenizer.eos_token).split("{text}")
    predict = form.prompts["query"].replace("{eos}", tokenizer.eos_token).split("{text}")[1]
    body, one, two = [tokenizer.bos_token_id, *plain(before + text)], plain(summarize), plain(predict)
    ids = body + one + two
    start, middle, total = len(body), len(body + one), len(ids)
    block = [0] * start + [1] * len(one) + [2] * len(two)
    positions = [*range(middle), *range(start, start + len(two))]
    mask = torch.full((total, total), torch.finfo(torch.float64).min, dtype=torch.float64)
    for q in range(total):
        for k in range(total):
            if block[k] in (0, block[q]) and (encoder.direction == "bidirectional" or k <= q):
                mask[q, k] = 0
    model: Any = AutoModel.from_pretrained(base, attn_implementation="eager").double()
    embedded = encoder.backbone.get_input_embeddings()(torch.tensor([ids])).double()  # type: ignore[operator]
    with torch.no_grad():
        states = model(
            inputs_embeds=embedded, attention_mask=mask[None, None], position_ids=torch.tensor([positions]), use_cache=False
        ).last_hidden_state[0]
    read = 8 if mode == "code" else 1
    return [states[end - read : end].mean(0).numpy() for end in (middle, total)]


@pytest.mark.parametrize("mode", FORMS)
@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
def test_equals_the_row_written_out_by_hand(base: Path, mode: str, direction: str) -> None:
    encoder = made(base, mode, direction=direction)
    found = encoder.encode_both(SENTENCES)
    for row, text in enumerate(SENTENCES):
        ebae, ebar = by_hand(base, encoder, text, mode)
        np.testing.assert_allclose(found.ebae[row], ebae, atol=NEAR)
        np.testing.assert_allclose(found.ebar[row], ebar, atol=NEAR)


def two_passes(encoder: Encoder, texts: list[str], **options: Any) -> tuple[np.ndarray, np.ndarray]:
    return encoder.encode_document(texts, **options), encoder.encode_query(texts, **options)


@pytest.mark.parametrize("mode", FORMS)
@pytest.mark.parametrize(
    "options", [{}, {"batch_tokens": 64}, {"batch_size": 1}, {"normalize_embeddings": True, "truncate_dim": 8}]
)
def test_equals_two_passes(base: Path, mode: str, options: dict[str, Any]) -> None:
    """Cut texts among them: the questions differ in length, and each leaves the text as much room
    as it does by itself.
    """
    encoder = made(base, mode)
    questions = Questions.of(encoder)
    assert (questions.sizes[0] != questions.sizes[1]) and len(encoder.tokenize([LONG])[0].ids) == 128
    found = encoder.encode_both(TEXTS, **options)
    for one, other in zip(found, two_passes(encoder, TEXTS, **options)):
        assert one.dtype == np.float32 and one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=NEAR)


@pytest.mark.parametrize("tokens", [{"add_bos": True}, {}])
@pytest.mark.parametrize("mode", FORMS)
def test_padded_families(tmp_path: Path, mode: str, tokens: dict[str, Any]) -> None:
    """Without BOS and with the paper's prompts an empty text leaves nothing that the two questions
    could share.
    """
    config = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": False}
    base = tiny_model(tmp_path / "base", FalconConfig, tokenizer={"vocab_size": 420, **tokens}, **config)
    encoder = made(base, mode)
    assert encoder.execution == "padded"
    for one, other in zip(encoder.encode_both(TEXTS), two_passes(encoder, TEXTS)):
        np.testing.assert_allclose(one, other, atol=NEAR)
    with pytest.raises(UnsupportedFamily, match="cannot be made blind to hidden blocks"):
        made(base, mode, direction="bidirectional").encode_both(["A text."])


def test_nothing_to_share_in_a_packed_family(tmp_path: Path) -> None:
    encoder = made(tiny_llama(tmp_path / "base", tokenizer={"vocab_size": 420}), "paper")
    for one, other in zip(encoder.encode_both(["", "a", ""]), two_passes(encoder, ["", "a", ""])):
        np.testing.assert_allclose(one, other, atol=NEAR)


def test_the_text_is_computed_once(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = made(base, max_length=440)
    long = LONG * 4
    tokens: list[int] = []

    def counted(model: Any, ids: Any, plan: Any, *rest: Any) -> Any:
        tokens.append(plan.total)
        return run.hidden_states(model, ids, plan, *rest)

    monkeypatch.setattr("bothways.encoder.module.hidden_states", counted)
    encoder.encode_both([long] * 2)
    together = tokens.copy()
    tokens.clear()
    two_passes(encoder, [long] * 2)
    assert len(together) == 1 and len(tokens) == 2 and sum(together) < 0.65 * sum(tokens)


def test_no_answer_reads_the_other(base: Path) -> None:
    encoder = made(base)
    plain = encoder.encode_both(SENTENCES)
    encoder.options.prompts["query"] = encoder.options.prompts["query"].replace("predict", "foretell")
    changed = encoder.encode_both(SENTENCES)
    np.testing.assert_allclose(changed.ebae, plain.ebae, atol=1e-6)
    assert np.abs(changed.ebar - plain.ebar).max() > 1e-3


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
def test_rows_are_those_of_the_objective(base: Path, direction: str) -> None:
    encoder = made(base, direction=direction)
    questions = Questions.of(encoder)
    passages = [Passage(text, text, text) for text in SENTENCES]
    trained = make_rows(passages, encoder, questions, max_length=128, stop_words="none")
    parts, cut = rows_of(encoder, questions, SENTENCES, 0)
    assert cut == 0 and [part.row.ids for part in parts] == [row.ids for row in trained]
    assert {part.row.blocks for part in parts} == {questions.sizes}


def test_a_cut_bidirectional_text_is_the_same_for_both(base: Path) -> None:
    encoder = made(base, direction="bidirectional")
    questions = Questions.of(encoder)
    ((row, _, sides),), cut = rows_of(encoder, questions, [LONG], 0)
    assert (cut, sides, row.blocks) == (1, (0, 1), questions.sizes)
    assert len(row.ids) - sum(questions.sizes) == 128 - max(questions.sizes)


def test_one_text_tensors_streams_and_nothing(base: Path) -> None:
    encoder = made(base)
    many = encoder.encode_both(iter(TEXTS))
    one = encoder.encode_both(TEXTS[0])
    assert one.ebae.shape == (32,)
    np.testing.assert_allclose(one.ebar, many.ebar[0], atol=NEAR)
    tensors = encoder.encode_both(TEXTS, convert_to_tensor=True)
    assert torch.equal(tensors.ebae, torch.from_numpy(many.ebae))
    windows = list(encoder.encode_both_stream(iter(TEXTS), window=4))
    assert [text for some, _ in windows for text in some] == TEXTS
    np.testing.assert_allclose(np.concatenate([each for _, each in windows])[:, 1], many.ebar, atol=NEAR)
    assert [each.shape for each in encoder.encode_both([])] == [(0, 32)] * 2


def test_windows_count_on_and_cut_texts_are_said_once(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = made(base)
    with caplog.at_level("INFO", "bothways"):
        found = list(encoder.encode_both_stream([*SENTENCES[:3], LONG, "Yes.", LONG + "."], window=2))
    assert [len(texts) for texts, _ in found] == [2, 2, 2]
    assert [text for text in caplog.messages if "were cut" in text] == [
        "2 of 6 texts were longer than the encoder's 128 tokens and were cut"
    ]
    with pytest.raises(InputError, match=r"texts\[4\]: must be a string \(got int\)"):
        list(encoder.encode_both_stream([*SENTENCES[:4], 3], window=2))  # type: ignore[list-item]
    caplog.clear()
    with caplog.at_level("INFO", "bothways"):
        encoder.encode_both(SENTENCES[:3])
    assert not [text for text in caplog.messages if "were cut" in text]


def test_normalized_and_cut_vectors(base: Path) -> None:
    encoder = made(base)
    plain, unit = encoder.encode_both(SENTENCES), encoder.encode_both(SENTENCES, normalize_embeddings=True, truncate_dim=8)
    for whole, short in zip(plain, unit):
        expected = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
        np.testing.assert_allclose(short, expected, atol=1e-6)
    encoder.options.normalize = True
    np.testing.assert_allclose(encoder.encode_both(SENTENCES, truncate_dim=8).ebae, unit.ebae, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_both(SENTENCES, normalize_embeddings=False).ebar, plain.ebar, atol=1e-6)


def test_a_layer_behind_the_pooling_takes_part(base: Path) -> None:
    encoder = made(base)
    encoder.pooling = with_mlp(encoder.pooling, mlp_layer(32), width=32)
    for one, other in zip(encoder.encode_both(SENTENCES), two_passes(encoder, list(SENTENCES))):
        np.testing.assert_allclose(one, other, atol=NEAR)
    assert np.abs(encoder.encode_both(SENTENCES).ebae).max() <= 1


def test_trained_and_saved(tmp_path: Path) -> None:
    bw.train(llara(tmp_path, adaptation()), tmp_path / "out", texts=DOCUMENTS)
    encoder = bw.load(tmp_path / "out", **CPU)
    found = encoder.encode_both(SENTENCES)
    for one, other in zip(found, two_passes(encoder, list(SENTENCES))):
        np.testing.assert_allclose(one, other, atol=NEAR)
    encoder.save(tmp_path / "again")
    for one, other in zip(bw.load(tmp_path / "again", **CPU).encode_both(SENTENCES), found):
        np.testing.assert_array_equal(one, other)
    kept = bw.load(tmp_path / "out" / "adapters" / "1-adaptation", **CPU)
    for one, other in zip(kept.encode_both(SENTENCES), found):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_refusals(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        InputError, match=r"encode_both: asks two questions .* \(got none\); train it with `bothways train llara`"
    ):
        bw.convert(base, **CPU).encode_both(["A text."])
    code = FORMS["code"]
    plain = bw.convert(base, direction="causal", pooling=code.pooling, prompts=code.prompts, **CPU)
    with pytest.raises(InputError, match=r"read at the tokens .*, which are not special tokens of this tokenizer"):
        plain.encode_both(["A text."])
    plain.provenance["stages"] = [{"name": "adaptation", "objective": {"kind": "llara"}}]
    assert plain.encode_both(["A text."]).ebae.shape == (1, 32), "questions of one's own that a stage has trained"
    encoder = made(base)
    with pytest.raises(InputError, match=r"texts\[1\]: must be a string \(got tuple\)"):
        encoder.encode_both(["A text.", ("Find:", "a text")])  # type: ignore[list-item]
    with pytest.raises(InputError, match="truncate_dim"):
        encoder.encode_both(["A text."], truncate_dim=64)
    with pytest.raises(InputError, match="leaves no token for the text"):
        made(base, max_length=12).encode_both(["A text."])
    encoder.pooling = bw.convert(base, **CPU).pooling
    with pytest.raises(
        InputError, match="encode_both: vectors are read at the end of a question; use pooling last or last_tokens"
    ):
        encoder.encode_both(["A text."])
    caplog.clear()
    made(base, direction="bidirectional").encode_both(["A text."])
    assert caplog.text.count("a text sees neither question") == 1


def test_command_line(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_: Run = runner(capsys)
    encoder = made(base, normalize=True)
    encoder.save(tmp_path / "encoder")
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES))
    expected = encoder.encode_both(SENTENCES)
    words = ("encode", tmp_path / "encoder", texts, "--both", "--device", "cpu", "--dtype", "float32")
    done = run_(*words, "--out", tmp_path / "v.npy")
    assert (done.code, done.out.splitlines()[0]) == (
        0,
        f"{tmp_path / 'v.npy'}: 8 texts, each with two vectors of 32 numbers (ebae, ebar)",
    ), done.err
    array = np.load(tmp_path / "v.npy")
    assert array.shape == (8, 2, 32)
    for side, vectors in enumerate(expected):
        np.testing.assert_allclose(array[:, side], vectors, atol=NEAR)
    assert run_(*words, "--out", tmp_path / "v.parquet", "--truncate-dim", "8").code == 0
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["file", "row", "text", "ebae", "ebar"] and table.column("text").to_pylist() == list(SENTENCES)
    for side, vectors in zip(("ebae", "ebar"), encoder.encode_both(SENTENCES, truncate_dim=8)):
        np.testing.assert_allclose(np.array(table.column(side).to_pylist()), vectors, atol=NEAR)
    done = run_(*words, "--out", tmp_path / "x.npy", "--prompt", "Find: ")
    assert done.code == 2 and done.err.startswith("error: --prompt Find: : does not work with --both")
    done = run_("encode", base, texts, "--both", "--out", tmp_path / "x.npy", "--device", "cpu")
    assert (
        done.code == 2 and done.err.startswith("error: encode_both: asks two questions") and not (tmp_path / "x.npy").exists()
    )
