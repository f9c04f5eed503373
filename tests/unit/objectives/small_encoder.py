"""A small encoder with dropout, made by hand: random Llama, byte-level tokenizer, mean pooling."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bothways.attention.direction import set_direction
from bothways.attention.interface import NAME
from bothways.encoder.encoder import Encoder
from bothways.pooling.pool import Pooling
from tiny import SENTENCES, tiny_tokenizer

TEXTS = [*SENTENCES, "Short.", "Two words", "One more sentence that is rather longer than the others, with a comma and no end"]


def make_encoder(seed: int = 0, **tokenizer) -> tuple[Encoder, LlamaForCausalLM]:
    """The encoder, and the causal model whose decoder it is."""
    made = tiny_tokenizer(**tokenizer)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(made), num_key_value_heads=2, initializer_range=0.1, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        causal = LlamaForCausalLM(config)
    set_direction(causal.model, "bidirectional")
    causal.model.set_attn_implementation(NAME)
    return Encoder(causal.model, made, Pooling("mean"), direction="bidirectional"), causal
