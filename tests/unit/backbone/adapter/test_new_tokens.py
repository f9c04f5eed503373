"""New tokens: rows drawn like the others, trained alone beside a frozen model, folded back into
it.
"""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModel, Gemma3TextConfig, GPT2Config

from bothways.attention.probe import measure_execution
from bothways.backbone.adapter.lora import adapter_state, attach, load_adapter_state, merge_adapter
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.adapter.new_tokens import NewRows, add_tokens, fold_rows, special_ids, train_rows
from bothways.errors import InputError
from tiny import TINY, tiny_llama, tiny_model, tiny_tokenizer

TOKENS = [f"<s{number}>" for number in range(1, 17)]
GEMMA = {**TINY, "head_dim": 8, "sliding_window": 64, "query_pre_attn_scalar": 8}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}


def made(folder, kind: str = "llama"):
    if kind == "llama":
        tiny_llama(folder)
    elif kind == "gemma3":
        tiny_model(folder, Gemma3TextConfig, **GEMMA)
    else:
        tiny_model(folder, GPT2Config, **GPT2)
    return AutoModel.from_pretrained(folder, dtype=torch.float32).eval(), tiny_tokenizer()


def states(model, ids):
    return model(input_ids=ids, use_cache=False).last_hidden_state


def test_tokens_are_single_ids_with_rows_of_their_own(tmp_path):
    model, tokenizer = made(tmp_path)
    before, size = model.get_input_embeddings().weight.detach().clone(), len(tokenizer)
    ids = add_tokens(model, tokenizer, TOKENS, seed=1)
    assert ids == list(range(size, size + 16)) and len(tokenizer) == size + 16
    assert tokenizer("A cat<s1><s16>.")["input_ids"][-3:-1] == [ids[0], ids[-1]]
    after = model.get_input_embeddings().weight
    assert model.config.vocab_size == after.shape[0] == size + 16
    assert torch.equal(after[:size], before)
    new = after[size:]
    assert new.unique(dim=0).shape[0] == 16
    # 512 draws: the share of the table's deviation is within 15 % of 1, the mean within a fifth of
    # it
    new = new.detach()
    assert abs(float(new.std() / before.std()) - 1) < 0.15 and abs(float(new.mean() - before.mean())) < 0.2 * float(
        before.std()
    )
    assert add_tokens(model, tokenizer, TOKENS[:3]) == ids[:3] and torch.equal(model.get_input_embeddings().weight, after)
    assert set(ids) < special_ids(tokenizer) and tokenizer.eos_token_id in special_ids(tokenizer)
    again, other = made(tmp_path / "2")
    add_tokens(again, other, TOKENS, seed=1)
    assert torch.equal(again.get_input_embeddings().weight[size:], new)


def test_a_table_with_room_to_spare_is_not_enlarged(tmp_path):
    tiny_llama(tmp_path)
    model, tokenizer = AutoModel.from_pretrained(tmp_path), tiny_tokenizer()
    model.resize_token_embeddings(448)
    ids = add_tokens(model, tokenizer, TOKENS)
    assert model.get_input_embeddings().weight.shape[0] == 448 and max(ids) < 448


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_the_wrapped_embedding_is_the_embedding(tmp_path, kind):
    """Also where a family scales its embeddings inside the module (Gemma 3)."""
    model, tokenizer = made(tmp_path, kind)
    ids = add_tokens(model, tokenizer, TOKENS)
    tokens = torch.tensor([[5, ids[0], 9, ids[15], ids[7], 11]])
    expected = states(model, tokens).detach()
    attach(model, LoraConfig(r=2, dropout=0.0))
    train_rows(model, ids)
    torch.testing.assert_close(states(model, tokens), expected, rtol=0, atol=0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    rows = [name for name in trained if "lora_rows" in name]
    assert len(rows) == 1 and all(".lora_" in name for name in trained)
    own = model.get_parameter(rows[0])
    assert own.shape == (16, model.config.hidden_size) and own.dtype == torch.float32
    states(model, tokens).square().sum().backward()
    touched = own.grad.abs().sum(1) > 0
    assert touched.nonzero().flatten().tolist() == [0, 7, 15], "rows of tokens that occur, and no others"
    # the gradient is the one of the whole table
    plain, _ = made(tmp_path / "plain", kind)
    add_tokens(plain, tiny_tokenizer(), TOKENS)
    states(plain, tokens).square().sum().backward()
    table = plain.get_input_embeddings().weight.grad[ids]
    torch.testing.assert_close(own.grad, table, rtol=1e-4, atol=1e-5 * float(table.abs().max()))


def test_rows_are_part_of_the_adapter_and_of_its_merge(tmp_path):
    model, tokenizer = made(tmp_path)
    ids = add_tokens(model, tokenizer, TOKENS)
    base = copy.deepcopy(model)
    tokens = torch.tensor([[5, ids[0], 9, ids[15], ids[7], 11]])
    attach(model, LoraConfig(r=2, dropout=0.0))
    train_rows(model, ids)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    expected = states(model, tokens).detach()
    state = adapter_state(model)
    attach(base, LoraConfig(r=2, dropout=0.0))
    train_rows(base, ids)
    load_adapter_state(base, state)
    torch.testing.assert_close(states(base, tokens), expected, rtol=0, atol=0)
    frozen = base.get_input_embeddings().weight.detach().clone()
    assert merge_adapter(base, verify=lambda: states(base, tokens)) < 1e-5
    torch.testing.assert_close(states(base, tokens), expected, rtol=1e-5, atol=1e-5)
    assert not isinstance(base.get_input_embeddings(), NewRows) and not any(
        "lora_" in name for name, _ in base.named_parameters()
    )
    changed = (base.get_input_embeddings().weight != frozen).any(1).nonzero().flatten().tolist()
    assert changed == sorted(ids)


def test_in_bfloat16_the_rows_stay_float32(tmp_path):
    model, tokenizer = made(tmp_path)
    ids = add_tokens(model, tokenizer, TOKENS)
    model.to(torch.bfloat16)
    attach(model, LoraConfig(r=2, dropout=0.0))
    train_rows(model, ids)
    assert model.get_input_embeddings().lora_rows.weight.dtype == torch.float32
    assert model.get_input_embeddings()(torch.tensor([[1, ids[0]]])).dtype == torch.bfloat16
    assert model.get_input_embeddings().weight.shape[0] == max(ids) + 1
    fold_rows(model)
    fold_rows(model)  # nothing left to do


def test_where_the_whole_embedding_trains_there_is_nothing_to_wrap(tmp_path):
    model, tokenizer = made(tmp_path)
    ids = add_tokens(model, tokenizer, TOKENS)
    model.requires_grad_(True)
    train_rows(model, ids)
    assert not isinstance(model.get_input_embeddings(), NewRows)


def test_the_probe_still_finds_a_packed_model(tmp_path):
    from bothways.attention.direction import set_direction

    model, tokenizer = made(tmp_path)
    set_direction(model, "causal")
    add_tokens(model, tokenizer, TOKENS)
    assert measure_execution(model) == "packed"


def test_tokens_that_cannot_be_added(tmp_path):
    model, tokenizer = made(tmp_path)
    for tokens in (["<a>", "<a>"], [""]):
        with pytest.raises(InputError, match=r"new_tokens: .*expected texts that are not empty, each once"):
            add_tokens(model, tokenizer, tokens)
