"""MNTP: the label shift, segments, special tokens, and equality with a causal LM's shifted loss
over all positions.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from bothways.attention.shifted import ShiftedGroups
from bothways.config import parse
from bothways.data.text.packing import Block
from bothways.errors import InputError
from bothways.objectives.masking import Masking
from bothways.objectives.mntp import Mntp, MntpConfig
from unit.objectives.small_encoder import TEXTS, make_encoder


def objective(**options) -> Mntp:
    masking = Masking(mask_id=9, vocabulary=20, probability=1.0, style="all_mask")
    return Mntp(torch.nn.Linear(4, 20), masking, special_ids=[0, 1], **options)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_label_shift_on_a_hand_made_batch():
    """Segments [5 6 7] and [1 8 4 0] (0 and 1 special), everything masked: 6, 7 | 8, 4 are read one
    place earlier.
    """
    batch = objective().collate([Block([5, 6, 7], (3,)), Block([1, 8, 4, 0], (4,))], generator())
    assert batch.tokens.input_ids.tolist() == [5, 9, 9, 1, 9, 9, 0]
    assert batch.places.tolist() == [0, 1, 3, 4]
    assert batch.targets.tolist() == [6, 7, 8, 4]
    assert batch.tokens.plan.lengths == (3, 4)
    assert objective().count(batch) == 4


def test_nothing_is_predicted_across_isolated_documents():
    batch = objective().collate([Block([5, 6, 7, 8], (2, 2))], generator())
    assert batch.places.tolist() == [0, 2]
    assert batch.targets.tolist() == [6, 8]


def test_bidirectional_shifted_groups_while_training_and_full_attention_in_evaluation():
    """S² without the triangle: a token sees its whole group, what it sees in evaluation is
    everything.
    """
    losses = {}
    for name, groups in (("full", None), ("s2", ShiftedGroups(ratio=0.25))):
        encoder, causal = make_encoder()
        mntp = MntpConfig(row_length=32, shifted=groups).build(encoder, causal.lm_head)
        batch = mntp.collate(mntp.prepare(TEXTS, encoder)[:2], generator())
        assert batch.tokens.plan.direction == "bidirectional"
        for training in (True, False):
            encoder.train(training)
            with torch.no_grad():
                losses[name, training] = float(mntp.step(encoder, batch, scale=1.0, backward=lambda _: None, seed=0).loss_sum)
    assert losses["s2", False] == losses["full", False]
    assert abs(losses["s2", True] - losses["full", True]) > 1e-3


@pytest.mark.parametrize("add_bos", [False, True])
@pytest.mark.parametrize("isolate", [False, True])
def test_special_and_first_tokens_are_never_masked(add_bos, isolate):
    encoder, causal = make_encoder(add_bos=add_bos)
    config = MntpConfig(row_length=32, mask_probability=1.0, style="all_mask", isolate_documents=isolate)
    mntp = config.build(encoder, causal.lm_head)
    blocks = mntp.prepare(TEXTS, encoder)
    batch = mntp.collate(blocks, generator())
    original = torch.tensor([token for block in blocks for token in block.ids])
    special = torch.isin(original, torch.tensor(encoder.tokenizer.all_special_ids))
    first = batch.tokens.plan.position_ids() == 0
    assert special.any()
    changed = batch.tokens.input_ids != original
    assert not (changed & (special | first)).any()
    labelled = torch.zeros_like(special)
    labelled[batch.places + 1] = True
    assert torch.equal(labelled, ~(special | first))


def test_loss_equals_the_shifted_causal_loss_over_all_positions():
    """Labels -100 where nothing is masked, then the ordinary causal-LM shift: full logits, float64,
    row by row.
    """
    encoder, causal = make_encoder()
    head = copy.deepcopy(causal.lm_head).double()
    mntp = MntpConfig(row_length=24, mask_probability=0.4).build(encoder, head)
    blocks = mntp.prepare(TEXTS, encoder)[:4]
    batch = mntp.collate(blocks, generator(3))
    states = torch.randn(96, 32, dtype=torch.float64, generator=generator(5), requires_grad=True)

    class Fixed(torch.nn.Module):
        def states(self, batch):
            return states

    result = mntp.step(Fixed(), batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    ours = states.grad.clone()
    states.grad = None
    originals = torch.tensor([block.ids for block in blocks])
    labels = torch.full_like(originals, -100)
    labels.view(-1)[batch.places + 1] = batch.targets
    assert torch.equal(labels[labels != -100], originals[labels != -100])
    logits = head(states.view(4, 24, 32))
    expected = F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), reduction="sum")
    expected.backward()
    torch.testing.assert_close(result.loss_sum, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours, states.grad, rtol=1e-12, atol=1e-12)
    assert result.count == int((labels[:, 1:] != -100).sum()) == mntp.count(batch)
    hits = (logits[:, :-1].argmax(-1) == labels[:, 1:]).sum() / result.count
    torch.testing.assert_close(result.metrics["accuracy"], hits)


def test_loss_equals_transformers_causal_model():
    """The same batch through LlamaForCausalLM with a full mask and its own loss, row by row in
    float32.
    """
    encoder, causal = make_encoder()
    mntp = MntpConfig(row_length=16, mask_probability=0.3).build(encoder, causal.lm_head)
    batch = mntp.collate(mntp.prepare(TEXTS, encoder)[:3], generator(1))
    result = mntp.step(encoder.eval(), batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    labels = torch.full((48,), -100)
    labels[batch.places + 1] = batch.targets
    causal.model.set_attn_implementation("eager")
    causal.config.is_causal = False
    # a full additive mask of zeros: every token sees every token
    output = causal(batch.tokens.input_ids.view(3, 16), attention_mask=torch.zeros(3, 1, 16, 16), labels=labels.view(3, 16))
    assert float(result.loss_sum) / result.count == pytest.approx(float(output.loss.detach()), rel=1e-5)


def test_scale_reaches_the_gradient_only():
    gradients = []
    for scale in (1.0, 0.25):
        encoder, causal = make_encoder()
        mntp = MntpConfig(row_length=24).build(encoder, causal.lm_head)
        batch = mntp.collate(mntp.prepare(TEXTS, encoder), generator())
        result = mntp.step(encoder.train(), batch, scale=scale, backward=torch.Tensor.backward, seed=0)
        gradients.append((result.loss_sum, encoder.backbone.layers[0].mlp.up_proj.weight.grad))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    torch.testing.assert_close(gradients[0][1] * 0.25, gradients[1][1])


def test_frozen_head_leaves_tied_embeddings_trainable_and_untouched_by_the_head():
    encoder, causal = make_encoder()
    causal.lm_head.weight = encoder.backbone.embed_tokens.weight
    mntp = MntpConfig(row_length=24).build(encoder, causal.lm_head)
    assert not any(parameter.requires_grad for parameter in mntp.parameters())
    assert encoder.backbone.embed_tokens.weight.requires_grad
    assert mntp.head.weight.data_ptr() == causal.lm_head.weight.data_ptr(), "no second copy in memory"


def test_trained_head_gets_a_gradient_and_the_base_head_stays():
    encoder, causal = make_encoder()
    causal.lm_head.weight = encoder.backbone.embed_tokens.weight
    mntp = MntpConfig(row_length=24, train_head=True).build(encoder, causal.lm_head)
    batch = mntp.collate(mntp.prepare(TEXTS, encoder), generator())
    mntp.step(encoder.train(), batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    assert float(mntp.head.weight.grad.abs().sum()) > 0
    assert mntp.head.weight.data_ptr() != causal.lm_head.weight.data_ptr()
    # what reached the shared weight came through the input embeddings, so only rows of tokens in
    # the batch moved
    moved = causal.lm_head.weight.grad.abs().sum(-1) > 0
    assert not moved[~torch.isin(torch.arange(len(moved)), batch.tokens.input_ids)].any()


def test_collation_depends_on_the_generator_alone():
    encoder, causal = make_encoder()
    mntp = MntpConfig(row_length=24).build(encoder, causal.lm_head)
    blocks = mntp.prepare(TEXTS, encoder)
    torch.manual_seed(0)
    one = mntp.collate(blocks, generator(4))
    torch.manual_seed(99)
    two = mntp.collate(blocks, generator(4))
    assert torch.equal(one.tokens.input_ids, two.tokens.input_ids)
    assert torch.equal(one.places, two.places)
    assert not torch.equal(one.tokens.input_ids, mntp.collate(blocks, generator(5)).tokens.input_ids)


def test_documents_are_marked_off_once():
    """EOS between documents where the tokenizer adds nothing; the tokenizer's own BOS otherwise."""
    for add_bos in (False, True):
        encoder, causal = make_encoder(add_bos=add_bos)
        tokenizer = encoder.tokenizer
        blocks = MntpConfig(row_length=10_000).build(encoder, causal.lm_head).prepare(["ab", "cd"], encoder)
        plain = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("ab", "cd")]
        if add_bos:
            expected = [tokenizer.bos_token_id, *plain[0], tokenizer.bos_token_id, *plain[1]]
        else:
            expected = [*plain[0], tokenizer.eos_token_id, *plain[1]]
        assert list(blocks[0].ids) == expected


def test_odd_texts_are_tokenised():
    encoder, causal = make_encoder()
    mntp = MntpConfig(row_length=8).build(encoder, causal.lm_head)
    assert mntp.prepare(["", "   ", "lone \ud800 surrogate", "NUL \x00 here", "🙂" * 50], encoder)


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_no_text_is_refused(texts):
    encoder, causal = make_encoder()
    with pytest.raises(InputError, match=r"objective mntp: .* hold fewer than two tokens"):
        MntpConfig().build(encoder, causal.lm_head).prepare(texts, encoder)


def test_a_non_string_is_refused_by_its_index():
    encoder, causal = make_encoder()
    with pytest.raises(InputError, match=r"texts\[1\]: must be a string \(got float\)"):
        MntpConfig().build(encoder, causal.lm_head).prepare(["a", float("nan")], encoder)


def test_no_head_is_refused():
    with pytest.raises(InputError, match="needs the base model's language-model head"):
        MntpConfig().build(make_encoder()[0], None)


def test_config_names_unknown_keys():
    with pytest.raises(InputError, match="unknown key 'mask_probabilty'; did you mean 'mask_probability'"):
        parse(MntpConfig, {"kind": "mntp", "mask_probabilty": 0.2}, where="recipe.yaml")


def test_a_batch_without_labels_has_a_zero_gradient():
    encoder, causal = make_encoder()
    mntp = MntpConfig(row_length=8).build(encoder, causal.lm_head)
    batch = mntp.collate([Block([7], (1,))], generator())
    result = mntp.step(encoder.train(), batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    assert result.count == 0
    assert all(float(p.grad.abs().sum()) == 0 for p in encoder.parameters() if p.grad is not None)


def test_training_lowers_the_loss_and_raises_the_accuracy():
    encoder, causal = make_encoder()
    mntp = MntpConfig(row_length=24, mask_probability=0.3).build(encoder, causal.lm_head)
    blocks = mntp.prepare(TEXTS, encoder)
    optimizer = torch.optim.AdamW(encoder.train().parameters(), lr=1e-2)
    results = []
    for step in range(60):
        batch = mntp.collate(blocks, generator(step))
        results.append(mntp.step(encoder, batch, scale=1 / mntp.count(batch), backward=torch.Tensor.backward, seed=step))
        optimizer.step()
        optimizer.zero_grad()
    mean = lambda result: float(result.loss_sum) / result.count  # noqa: E731
    assert mean(results[-1]) < 0.75 * mean(results[0])  # the head is random and frozen
    assert float(results[-1].metrics["accuracy"]) > float(results[0].metrics["accuracy"]) + 0.3
