"""LLaRA's objective against the authors' row written out by hand: mask, positions, both losses,
gradients, and what may not change.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import bothways as bw
from bothways.backbone.adapter.new_tokens import add_tokens, special_ids
from bothways.backbone.loading.sources import load_pretrained
from bothways.data.text.passages import Passage
from bothways.encoder.batch import TokenRow, pack
from bothways.errors import InputError
from bothways.objectives.llara import LlaraConfig
from bothways.objectives.objective import StepOutput
from bothways.recipes.llara import FORMS
from tiny import SENTENCES, tiny_llama

PASSAGES = [
    Passage(SENTENCES[0], SENTENCES[0], SENTENCES[1]),
    Passage(SENTENCES[2], SENTENCES[2], ""),
    Passage("The cat.", "the of!", "It, is."),
    Passage(SENTENCES[3] + " " + SENTENCES[6], SENTENCES[3], SENTENCES[7]),
]

# the stop words of SENTENCES
STOPPED = {"a", "again", "an", "and", "but", "did", "each", "from", "he"} | {
    *("her", "in", "is", "it", "not", "of", "on", "or", "she", "the", "to")
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True, "add_eos": True, "vocab_size": 420})


def made(base: Path, mode: str = "code", *, full: bool = False, direction: str = "causal", **config):
    form = FORMS[mode]
    encoder = bw.convert(base, direction=direction, pooling=form.pooling, prompts=form.prompts, dtype="float32", device="cpu")
    add_tokens(encoder.backbone, encoder.tokenizer, form.new_tokens or (), seed=2)
    encoder.requires_grad_(full)
    head = load_pretrained(base, dtype="float32", device="cpu", head=True).head
    objective = LlaraConfig(**{**form.objective, "max_length": 192, **config}).build(encoder.train(), head)
    return encoder, objective


def batch_of(objective, encoder, passages=PASSAGES, seed: int = 0):
    return objective.collate(objective.prepare(passages, encoder), torch.Generator().manual_seed(seed))


def by_hand(base: Path, encoder, passage: Passage, mode: str) -> dict[str, torch.Tensor]:
    """One row as in the released code, under a mask drawn entry by entry: hidden states of
    transformers' own eager attention.
    """
    tokenizer, form = encoder.tokenizer, FORMS[mode]

    def plain(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    before, summarize = form.prompts["document"].replace("{eos}", tokenizer.eos_token).split("{text}")
    predict = form.prompts["query"].replace("{eos}", tokenizer.eos_token).split("{text}")[1]
    prefix = [tokenizer.bos_token_id, *plain(before)]
    text = plain(before + passage.input)[len(plain(before)) :]
    one, two = plain(summarize), plain(predict)
    ids = prefix + text + one + two
    start, middle, total = len(prefix + text), len(prefix + text + one), len(ids)
    mask = torch.full((total, total), torch.finfo(torch.float32).min)
    for q in range(total):
        for k in range(q + 1):
            if not (q >= middle and start <= k < middle):
                mask[q, k] = 0
    positions = [*range(middle), *range(start, start + len(two))]
    causal = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
    embedded = encoder.backbone.get_input_embeddings()(torch.tensor([ids]))
    states = causal.model(
        inputs_embeds=embedded, attention_mask=mask[None, None], position_ids=torch.tensor([positions]), use_cache=False
    ).last_hidden_state[0]
    return {
        "states": states,
        "logits": causal.lm_head(states),
        "ids": torch.tensor(ids),
        "text": torch.arange(len(prefix), start),
        "summarize": torch.arange(middle - 8 if mode == "code" else middle - 1, middle),
        "predict": torch.arange(total - 8 if mode == "code" else total - 1, total),
    }


def words(tokenizer, text: str, mode: str) -> list[int]:
    if mode == "code":
        text = " ".join(
            word for word in "".join(c if c.isalnum() else " " for c in text).split() if word.lower() not in STOPPED
        )
    return sorted(set(tokenizer(text, add_special_tokens=False)["input_ids"]))


@pytest.mark.parametrize("mode", FORMS)
def test_loss_equals_the_row_written_out_by_hand(base, mode):
    encoder, objective = made(base, mode, **({"text_loss": "next_token"} if mode == "paper" else {}))
    encoder.eval()
    expected, metrics = [], {"text": [], "summarize": [], "predict": []}
    for passage in PASSAGES:
        row = by_hand(base, encoder, passage, mode)
        predicted = row["logits"][row["text"] - 1].log_softmax(-1)
        text = -predicted.gather(1, row["ids"][row["text"]][:, None]).mean()
        metrics["text"].append(float(text.detach()))
        bags = []
        for side in ("summarize", "predict"):
            bag = words(encoder.tokenizer, getattr(passage, side), mode)
            if bag:
                scores = row["logits"][row[side]].max(0).values.log_softmax(-1)
                bags.append(-scores[bag].mean())
                metrics[side].append(float(bags[-1].detach()))
        weight = FORMS[mode].objective["bow_weight"]
        expected.append(float((text + weight * torch.stack(bags).mean() if bags else text).detach()))
    batch = batch_of(objective, encoder)
    result = objective.step(encoder, batch, scale=1.0, backward=lambda loss: None, seed=0)
    assert result.count == len(PASSAGES)
    # float32 rounding of another attention and another order of sums
    assert float(result.loss_sum) == pytest.approx(sum(expected), rel=1e-5)
    means = {name: sum(values) / len(values) for name, values in metrics.items()}
    assert {name: float(result.metrics[name]) for name in means} == pytest.approx(means, rel=1e-5)
    single = [batch_of(objective, encoder, [passage]) for passage in PASSAGES]
    alone = [objective.step(encoder, one, scale=1.0, backward=lambda loss: None, seed=0).loss_sum for one in single]
    assert [float(value) for value in alone] == pytest.approx(expected, rel=1e-5)


def test_without_a_text_loss_only_the_bags_are_learned(base):
    encoder, objective = made(base, text_loss="none")
    assert objective.likelihood is None and made(base)[1].likelihood == "text"

    def step(*passages: Passage) -> StepOutput:
        batch = batch_of(objective, encoder.eval(), list(passages))
        return objective.step(encoder, batch, scale=1.0, backward=lambda loss: None, seed=0)

    results = [step(passage) for passage in PASSAGES]
    assert all(set(result.metrics) == {"summarize", "predict"} for result in results)
    for passage, result in zip(PASSAGES, results):
        losses = [
            result.metrics[side]
            for side in ("summarize", "predict")
            if words(encoder.tokenizer, getattr(passage, side), "code")
        ]
        expected = 0.1 * float(sum(losses)) / max(1, len(losses))
        assert float(result.loss_sum) == pytest.approx(expected, rel=1e-5)
    together = step(*PASSAGES)
    assert float(together.loss_sum) == pytest.approx(sum(float(result.loss_sum) for result in results), rel=1e-5)


def test_accuracy_is_the_share_of_labels_that_the_head_ranks_first(base):
    encoder, objective = made(base)
    batch = batch_of(objective, encoder.eval())
    with torch.no_grad():
        first = objective.head(encoder.states(batch.tokens)[batch.places]).argmax(-1)
    targets = torch.where(torch.arange(len(first)) % 4 == 0, first, (first + 1) % 300)
    result = objective.step(encoder, replace(batch, targets=targets), scale=1.0, backward=lambda loss: None, seed=0)
    assert float(result.metrics["accuracy"]) == pytest.approx(-(-len(first) // 4) / len(first))


def test_the_first_token_of_a_row_is_not_a_label(tmp_path):
    """No BOS and no words before the text: nothing predicts the text's first token, and every other
    one is predicted.
    """
    bare = tiny_llama(tmp_path, tokenizer={"add_eos": True, "vocab_size": 420})
    prompts = {"document": "{text} summary: {eos}", "query": "{text} next: {eos}"}
    encoder = bw.convert(bare, direction="causal", pooling="last", prompts=prompts, dtype="float32", device="cpu")
    head = load_pretrained(bare, dtype="float32", device="cpu", head=True).head
    objective = LlaraConfig(max_length=192).build(encoder, head)
    batch = batch_of(objective, encoder)
    begins = [0, *torch.tensor(batch.tokens.plan.lengths).cumsum(0).tolist()]
    sizes = sum(objective.questions.sizes)
    expected = [place for start, end in pairwise(begins) for place in range(start, end - sizes - 1)]
    assert batch.places.tolist() == expected
    assert torch.equal(batch.targets, batch.tokens.input_ids[batch.places + 1])


def test_states_equal_the_mask_drawn_by_hand(base):
    encoder, objective = made(base)
    batch = batch_of(objective, encoder.eval())
    with torch.no_grad():
        states = encoder.states(batch.tokens)
        for number, (passage, own) in enumerate(zip(PASSAGES, states.split(batch.tokens.plan.lengths))):
            row = by_hand(base, encoder, passage, "code")
            torch.testing.assert_close(own, row["states"], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(states[batch.read[number]], row["states"][row["summarize"]], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(
                states[batch.read[len(PASSAGES) + number]], row["states"][row["predict"]], rtol=1e-4, atol=1e-4
            )


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
def test_neither_answer_reads_the_other(base, direction):
    """Summarise states are the same without the predict block, and the reverse; only the text, both
    see.
    """
    encoder, objective = made(base, direction=direction)
    rows = objective.prepare(PASSAGES, encoder.eval())
    one, two = objective.questions.sizes
    for row in rows:
        text = row.ids[: len(row.ids) - one - two]

        def run(*blocks: list[int], text=text) -> torch.Tensor:
            ids = [*text, *(token for block in blocks for token in block)]
            batch = pack([TokenRow(ids, [True] * len(ids), [], tuple(map(len, blocks)))], direction=direction)
            with torch.no_grad():
                return encoder.states(batch)

        summarize, predict = objective.questions.blocks
        both, first, second = run(summarize, predict), run(summarize), run(predict)
        start = len(text)
        torch.testing.assert_close(both[:start], first[:start], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(both[start : start + one], first[start:], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(both[start + one :], second[start:], rtol=1e-5, atol=1e-5)
        changed = [token + 1 for token in summarize]
        assert (run(changed, predict)[start : start + one] - both[start : start + one]).abs().max() > 0.01
        torch.testing.assert_close(run(changed, predict)[start + one :], both[start + one :], rtol=1e-5, atol=1e-5)


def test_adapted_vectors_are_those_of_encode(base):
    """Causal: what the objective reads are the states that encode_document and encode_query
    average.
    """
    encoder, objective = made(base)
    batch = batch_of(objective, encoder.eval())
    with torch.no_grad():
        read = encoder.states(batch.tokens)[batch.read].mean(1)
    texts = [passage.input for passage in PASSAGES]
    torch.testing.assert_close(read[:4], torch.from_numpy(encoder.encode_document(texts)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(read[4:], torch.from_numpy(encoder.encode_query(texts)), rtol=1e-4, atol=1e-4)


def test_micro_batches_add_up_with_gradients(base):
    encoder, objective = made(base, full=True)
    rows = objective.prepare(PASSAGES, encoder)
    found = []
    for parts in ([rows], [rows[:1], rows[1:]]):
        encoder.zero_grad()
        total = 0.0
        for part in parts:
            batch = objective.collate(part, torch.Generator().manual_seed(0))
            total += float(objective.step(encoder, batch, scale=0.25, backward=lambda loss: loss.backward(), seed=0).loss_sum)
        found.append((total, [p.grad.clone() for p in encoder.backbone.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for one, other in zip(found[0][1], found[1][1]):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_the_head_trains_only_where_every_weight_does(base):
    objective = made(base)[1]
    assert not any(parameter.requires_grad for parameter in objective.parameters())
    objective = made(base, full=True)[1]
    assert all(parameter.requires_grad for parameter in objective.parameters())


def test_bidirectional_texts_are_masked_and_their_loss_is_mntp(base):
    encoder, objective = made(base, direction="bidirectional", mask_probability=0.5)
    rows = objective.prepare(PASSAGES, encoder.eval())
    batch = objective.collate(rows, torch.Generator().manual_seed(3))
    whole = torch.tensor([token for row in rows for token in row.ids])
    changed = (batch.tokens.input_ids != whole).nonzero().flatten()
    labels = batch.places + 1
    assert len(changed) > 5 and set(changed.tolist()) <= set(labels.tolist())
    assert torch.equal(batch.targets, whole[labels])
    begins = torch.tensor([0, *batch.tokens.plan.lengths]).cumsum(0)
    for row, begin in zip(rows, begins.tolist()):
        inside = (labels >= begin) & (labels < begin + len(row.ids))
        end = begin + len(row.ids) - sum(objective.questions.sizes)
        assert (labels[inside] >= begin + row.begin).all() and (labels[inside] < end).all()
        assert float(batch.weights[inside].sum()) == pytest.approx(1.0) or not inside.any()
    again = objective.collate(rows, torch.Generator().manual_seed(3))
    assert torch.equal(again.tokens.input_ids, batch.tokens.input_ids)
    result = objective.step(encoder, batch, scale=1.0, backward=lambda loss: None, seed=0)
    assert torch.isfinite(result.loss_sum)


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
@pytest.mark.parametrize("full", [False, True])
def test_a_text_may_spell_a_new_token(base, full, direction):
    """The tokenizer makes "<s1>" the new token, for which the head of a frozen base has no row: it
    is read, and never a label.
    """
    encoder, objective = made(base, full=full, direction=direction, mask_probability=0.9)
    text = f"{SENTENCES[0]} See the tags <s1> and <s16></s> in it. <s3>"
    batch = batch_of(objective, encoder, [Passage(text, text, f"<s2> {SENTENCES[1]}"), Passage("<s1>", "<s1>", SENTENCES[2])])
    hidden = torch.tensor(sorted(special_ids(encoder.tokenizer)))
    assert set(encoder.tokenizer.convert_tokens_to_ids(["<s1>", "<s3>", "<s16>"])) <= set(batch.tokens.input_ids.tolist())
    assert not torch.isin(batch.targets, hidden).any() and not torch.isin(batch.words, hidden).any() and len(batch.targets) > 5
    result = objective.step(encoder, batch, scale=1.0, backward=lambda loss: loss.backward() if full else None, seed=0)
    assert torch.isfinite(result.loss_sum)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": {}}, "needs prompts 'document' .summarize. and 'query' .predict., each a template"),
        ({"prompts": {"query": "{text} a", "document": "b {text} c"}}, "both prompts must have the same part before {text}"),
        ({"prompts": {"query": "{text} a", "document": "{text}"}}, "each a template with {text} and words after it"),
        ({"wrapper": ("[INST] ", " [/INST]")}, r"the wrapper adds ' \[/INST\]' after it"),
        ({"max_length": 513}, r"rows of 513 tokens \(objective\.max_length\), but the model has 512 positions"),
        ({"pooling": "mean"}, r"use pooling last or last_tokens \(got mean\)"),
        ({"prompts": {"query": "{text}a", "document": "{text}b"}}, "8 states are read, but a question has only 1 tokens"),
        (
            {"direction": "bidirectional", "text_loss": "next_token"},
            "next_token asks for a token that a bidirectional encoder sees",
        ),
    ],
)
def test_what_llara_cannot_use(base, change, message):
    form = FORMS["code"]
    options = {"direction": "causal", "pooling": form.pooling, "prompts": form.prompts, **change}
    config = {"max_length": 128} | {key: options.pop(key) for key in ("text_loss", "max_length") if key in options}
    encoder = bw.convert(base, dtype="float32", device="cpu", **options)
    head = load_pretrained(base, dtype="float32", device="cpu", head=True).head
    with pytest.raises(InputError, match=message) as caught:
        LlaraConfig(**config).build(encoder, head)
    assert "\n" not in str(caught.value)


def test_data_that_llara_cannot_use(base):
    encoder, objective = made(base)
    with pytest.raises(InputError, match=r"texts\[1\]: must be a document"):
        objective.prepare(["a", 3], encoder)
    with pytest.raises(InputError, match="hold no two successive passages"):
        objective.prepare(["One sentence."], encoder)
    encoder, objective = made(base, max_length=40)
    with pytest.raises(InputError, match="max_length 40 leaves no token for the text"):
        objective.prepare(["One. Two."], encoder)
    with pytest.raises(InputError, match="needs the base model's language-model head"):
        LlaraConfig().build(encoder)
