"""The head apart gives the logits of the whole model, in every family's own way of computing
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from bothways.backbone.head import take_apart
from bothways.backbone.loading.sources import load_pretrained
from bothways.errors import UnsupportedFamily
from tiny import TINY, tiny_llama, tiny_model

GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.1}
PLAIN = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.1}
# each family treats its logits in another way; the extremes make a lost step visible
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, untied": ("LlamaConfig", {**TINY, "tie_word_embeddings": False}),
    "llama, tied": ("LlamaConfig", {**TINY, "tie_word_embeddings": True}),
    "gemma2, soft cap": ("Gemma2Config", {**TINY, "head_dim": 8, "final_logit_softcapping": 0.5}),
    "granite, divided": ("GraniteConfig", {**TINY, "logits_scaling": 7.0}),
    "cohere, multiplied": ("CohereConfig", {**TINY, "logit_scale": 0.0625}),
    "gpt2": ("GPT2Config", GPT),
    "gptj, bias": ("GPTJConfig", {**GPT, "rotary_dim": 4}),
    "opt, projections": (
        "OPTConfig",
        {**PLAIN, "ffn_dim": 64, "word_embed_proj_dim": 16, "max_position_embeddings": 512, "init_std": 0.1},
    ),
    "mpt": ("MptConfig", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 512, "initializer_range": 0.1}),
    "phi, bias": ("PhiConfig", PLAIN),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.1}),
    "gpt_neox": ("GPTNeoXConfig", PLAIN),
    "mixtral, router": ("MixtralConfig", {**TINY, "num_local_experts": 2, "num_experts_per_tok": 1}),
    "qwen3": ("Qwen3Config", {**TINY, "head_dim": 8}),
    "falcon": ("FalconConfig", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.1}),
    "biogpt": ("BioGptConfig", {**PLAIN, "max_position_embeddings": 512}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_model_and_head_are_the_causal_lm(family: str, tmp_path: Path) -> None:
    kind, fields = FAMILIES[family]
    folder = tiny_model(tmp_path / "model", getattr(transformers, kind), **fields)
    whole = AutoModelForCausalLM.from_pretrained(str(folder)).eval()
    parts = load_pretrained(folder, dtype="float32", head=True)
    assert type(parts.model) is not type(whole)
    ids = torch.tensor([[5, 17, 250, 99, 3, 42, 7, 300, 11, 12, 13]])
    with torch.no_grad():
        expected = whole(input_ids=ids).logits[0]
        states = parts.model(input_ids=ids).last_hidden_state[0]
        assert parts.head is not None
        found = parts.head(states)
        # any subset of positions, as MNTP takes them
        some = parts.head(states[[1, 4, 7]])
    # the same kernels on the same numbers; matrix products of other row counts may round
    # differently
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(some, expected[[1, 4, 7]], atol=1e-5, rtol=1e-5)
    assert float(expected.std()) > 1e-3


def test_soft_cap_is_more_than_a_matrix(tmp_path: Path) -> None:
    kind, fields = FAMILIES["gemma2, soft cap"]
    parts = load_pretrained(tiny_model(tmp_path / "m", getattr(transformers, kind), **fields), dtype="float32", head=True)
    states = 50 * torch.randn(20, 32, generator=torch.Generator().manual_seed(0))
    assert parts.head is not None
    capped, bare = parts.head(states), states @ parts.model.embed_tokens.weight.T
    assert float(capped.detach().abs().max()) <= 0.5 < float(bare.detach().abs().max())
    torch.testing.assert_close(capped, 0.5 * torch.tanh(bare / 0.5))


def test_gradient_reaches_the_states_and_the_projection(tmp_path: Path) -> None:
    parts = load_pretrained(tiny_llama(tmp_path / "m", tie_word_embeddings=False), dtype="float32", head=True)
    states = torch.randn(5, 32, requires_grad=True)
    assert parts.head is not None
    parts.head(states).square().sum().backward()
    (weight,) = parts.head.parameters()
    logits = states.detach() @ weight.detach().T
    assert states.grad is not None and weight.grad is not None
    torch.testing.assert_close(states.grad, 2 * logits @ weight.detach())
    torch.testing.assert_close(weight.grad, 2 * logits.T @ states.detach())


@pytest.mark.parametrize("tied", [True, False])
def test_tied_head_is_the_embedding_itself(tied: bool, tmp_path: Path) -> None:
    parts = load_pretrained(tiny_llama(tmp_path / "m", tie_word_embeddings=tied), dtype="float32", head=True)
    assert parts.head is not None
    (weight,) = parts.head.parameters()
    assert parts.head.tied is tied
    assert (weight is parts.model.embed_tokens.weight) is tied


def test_head_holds_no_decoder(tmp_path: Path) -> None:
    parts = load_pretrained(tiny_llama(tmp_path / "m", tie_word_embeddings=False), dtype="float32", head=True)
    assert parts.head is not None
    assert [tuple(parameter.shape) for parameter in parts.head.parameters()] == [(384, 32)]


class _Peeking(LlamaForCausalLM):
    """Its logits depend on the token ids beside the states."""

    def forward(self, input_ids: Any = None, **rest: Any) -> Any:
        out = super().forward(input_ids=input_ids, **rest)
        if input_ids is not None:
            out.logits = out.logits + torch.nn.functional.one_hot(input_ids, out.logits.shape[-1])
        return out


def test_head_that_needs_more_than_states_is_refused() -> None:
    config = LlamaConfig(vocab_size=64, **TINY)
    causal = _Peeking(config).eval()
    with pytest.raises(UnsupportedFamily, match="differ from the model by 1 in logits"):
        take_apart(causal, causal.model)
    fine = LlamaForCausalLM(config).eval()
    take_apart(fine, fine.model)


def test_wrong_decoder_is_noticed() -> None:
    config = LlamaConfig(vocab_size=64, **TINY)
    causal, other = LlamaForCausalLM(config).eval(), LlamaForCausalLM(config).eval()
    with pytest.raises(UnsupportedFamily, match="differ"):
        take_apart(causal, other.model)


def test_weights_that_are_not_finite_are_noticed() -> None:
    causal = LlamaForCausalLM(LlamaConfig(vocab_size=64, **TINY)).eval()
    with torch.no_grad():
        causal.model.norm.weight[3] = float("nan")
    with pytest.raises(UnsupportedFamily, match="not finite"):
        take_apart(causal, causal.model)
