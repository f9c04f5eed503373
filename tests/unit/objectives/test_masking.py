"""Masking against transformers' DataCollatorForLanguageModeling, bit for bit and in its
statistics.
"""

from __future__ import annotations

import pytest
import torch
from transformers import DataCollatorForLanguageModeling

from bothways.errors import InputError
from bothways.objectives.masking import MASK, Masking, mask_token_id, mask_tokens
from tiny import tiny_tokenizer

T = 200_000


def material(tokenizer):
    ids = torch.randint(len(tokenizer), (T,), generator=torch.Generator().manual_seed(1))
    return ids, ~torch.isin(ids, torch.tensor(tokenizer.all_special_ids))


def draw(ids, allowed, tokenizer, *, style="bert", probability=0.2, seed=0):
    mask_id = mask_token_id(tokenizer, "mask")
    masking = Masking(mask_id, len(tokenizer), probability, style)
    return mask_tokens(ids, allowed, masking, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("style", "shares"), [("bert", (0.8, 0.1)), ("all_mask", (1.0, 0.0))])
def test_the_same_generator_gives_the_collators_masks(style, shares):
    tokenizer = tiny_tokenizer(mask="<mask>")
    ids, allowed = material(tokenizer)
    collator = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=0.2, mask_replace_prob=shares[0], random_replace_prob=shares[1]
    )
    collator.generator = torch.Generator().manual_seed(7)
    theirs, labels = collator.torch_mask_tokens(ids[None].clone(), special_tokens_mask=~allowed[None])
    ours = draw(ids, allowed, tokenizer, style=style, seed=7)
    assert torch.equal(ours.chosen, labels[0] != -100)
    assert torch.equal(ours.ids, theirs[0])


@pytest.mark.parametrize("probability", [0.15, 0.2, 0.8])
def test_shares_are_those_of_bert(probability):
    tokenizer = tiny_tokenizer(mask="<mask>")
    ids, allowed = material(tokenizer)
    corrupted, chosen = draw(ids, allowed, tokenizer, probability=probability)
    picked = int(chosen.sum())
    deviations = lambda share, n: 5 * (share * (1 - share) / n) ** 0.5  # noqa: E731
    assert abs(picked / int(allowed.sum()) - probability) < deviations(probability, T)
    masked = float((corrupted[chosen] == tokenizer.mask_token_id).float().mean())
    same = float((corrupted[chosen] == ids[chosen]).float().mean())
    assert abs(masked - 0.8) < deviations(0.8, picked) + 1e-3  # a random token may be the mask token: 0.1 / V
    assert abs(same - 0.1) < deviations(0.1, picked) + 1e-3
    assert torch.equal(corrupted[~chosen], ids[~chosen])


def test_random_tokens_are_uniform_over_the_vocabulary():
    tokenizer = tiny_tokenizer(mask="<mask>")
    ids = torch.full((T,), 300)
    corrupted, _ = draw(ids, torch.ones(T, dtype=torch.bool), tokenizer, probability=1.0)
    random = corrupted[(corrupted != 300) & (corrupted != tokenizer.mask_token_id)]
    counts = torch.bincount(random, minlength=len(tokenizer)).float()
    counts = counts[[i for i in range(len(tokenizer)) if i not in (300, tokenizer.mask_token_id)]]
    expected = counts.mean()
    # chi-square over V - 3 degrees of freedom: mean V, standard deviation √(2 V)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert abs(statistic - len(counts)) < 6 * (2 * len(counts)) ** 0.5


def test_nothing_forbidden_is_touched_and_the_input_stays():
    tokenizer = tiny_tokenizer(mask="<mask>")
    ids, allowed = material(tokenizer)
    before = ids.clone()
    corrupted, chosen = draw(ids, allowed, tokenizer, probability=1.0)
    assert torch.equal(ids, before)
    assert torch.equal(chosen, allowed)
    assert torch.equal(corrupted[~allowed], ids[~allowed])


def test_mask_token_choices():
    tokenizer = tiny_tokenizer(mask="<mask>")
    assert tokenizer.convert_ids_to_tokens(mask_token_id(tokenizer, "blank")) == "_"
    assert mask_token_id(tokenizer, "eos") == tokenizer.eos_token_id
    assert mask_token_id(tokenizer, "mask") == tokenizer.mask_token_id


def test_a_missing_mask_token_names_the_way_out():
    with pytest.raises(
        InputError, match="mask_token: 'mask' cannot be used: the tokenizer has no mask token; use 'blank' or 'eos'"
    ):
        mask_token_id(tiny_tokenizer(), "mask")
    with pytest.raises(InputError, match="no end-of-sequence token; use 'blank'"):
        mask_token_id(tiny_tokenizer(eos=None), "eos")


def test_an_unknown_blank_offers_eos():
    class WithoutBlank:
        unk_token_id = 3

        def convert_tokens_to_ids(self, token):
            return self.unk_token_id

    with pytest.raises(InputError, match="the vocabulary has no token '_'; use 'eos'"):
        mask_token_id(WithoutBlank(), "blank")


def test_the_tokenizers_own_mask_token_goes_before_an_added_one():
    own = tiny_tokenizer(mask="[MASK]")
    own.add_special_tokens({"additional_special_tokens": [MASK]})
    assert mask_token_id(own, "mask") == own.mask_token_id == own.convert_tokens_to_ids("[MASK]") != own.get_vocab()[MASK]
    added = tiny_tokenizer()
    assert added.mask_token_id is None
    added.add_tokens([MASK], special_tokens=True)
    assert mask_token_id(added, "mask") == added.get_vocab()[MASK]


def test_a_mask_token_beyond_the_embedding_is_refused():
    tokenizer = tiny_tokenizer(mask="[MASK]")
    found = tokenizer.mask_token_id
    assert mask_token_id(tokenizer, "mask", found + 1) == found
    with pytest.raises(InputError, match=rf"mask_token: 'mask'.*{found}, but the model embeds {found}"):
        mask_token_id(tokenizer, "mask", found)
