"""Small random models and tokenizers, built in milliseconds: the material of tests that need no
trained weights.

`tiny_tokenizer` trains a byte-level BPE on a few sentences; `tiny_llama` saves a two-layer Llama
beside it; `tiny_model` does the same for any other transformers config; `tiny_gguf` writes a Llama
as a .gguf file. A folder made here is what a user's local checkpoint looks like.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

SENTENCES = (
    "A cat sits on the warm window sill and watches the rain.",
    "The river runs from the old mountain to the sea in 1984 or 2024.",
    "Return the number of items in the list, or raise an error.",
    "She wrote a short letter to her brother, but he did not answer.",
    "Über allen Gipfeln ist Ruh, in allen Wipfeln spürest du kaum einen Hauch.",
    "今日は天気がいいから散歩しましょう。",
    "Two plus two is four; three times three is nine.",
    "Open the file, read each line, and close it again.",
)
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m['role'] + ': ' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}"
)


def tiny_tokenizer(
    folder: str | Path | None = None,
    *,
    vocab_size: int = 384,
    bos: str | None = "<s>",
    eos: str | None = "</s>",
    pad: str | None = "<pad>",
    unk: str | None = None,
    mask: str | None = None,
    add_bos: bool = False,
    add_eos: bool = False,
    chat_template: bool = False,
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `SENTENCES`: every string of Unicode text round-trips.

    Args:
        folder: where to save it, or None to keep it in memory.
        vocab_size: upper bound; the 256 bytes and the special tokens are part of it.
        bos: the token's text, or None for a tokenizer without it (also eos, pad, unk, mask).
        add_bos: the tokenizer puts BOS before each text.
        add_eos: the tokenizer puts EOS after each text.
        chat_template: carry a chat template.
    """
    specials = list(dict.fromkeys(token for token in (bos, eos, pad, unk, mask) if token is not None))
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(SENTENCES, trainer)
    if add_bos or add_eos:
        single = [bos] * add_bos + ["$A"] + [eos] * add_eos
        used = [(token, raw.token_to_id(token)) for token in {bos, eos} if token is not None]
        raw.post_processor = processors.Sequence(
            [processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(single=single, special_tokens=used)]
        )
    roles = {"bos_token": bos, "eos_token": eos, "pad_token": pad, "unk_token": unk, "mask_token": mask}
    named = {role: token for role, token in roles.items() if token is not None}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **named)
    if chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    if folder is not None:
        tokenizer.save_pretrained(str(folder))
    return tokenizer


def tiny_llama(folder: str | Path, *, tokenizer: dict[str, Any] | None = None, seed: int = 0, **config: Any) -> Path:
    """Save a random Llama (2 layers, hidden 32, 4 heads, 2 key-value heads) and its tokenizer;
    return the folder.

    Args:
        folder: created when absent.
        tokenizer: keyword arguments of `tiny_tokenizer`.
        seed: of the random weights.
        **config: LlamaConfig fields over the defaults.
    """
    return tiny_model(folder, LlamaConfig, tokenizer=tokenizer, seed=seed, **{**TINY, **config})


TINY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
}


def tiny_model(
    folder: str | Path,
    kind: type[PretrainedConfig],
    *,
    tokenizer: dict[str, Any] | None = None,
    seed: int = 0,
    auto: Any = AutoModelForCausalLM,
    dtype: torch.dtype = torch.float32,
    **config: Any,
) -> Path:
    """Save a random model of config class `kind` and its tokenizer; return the folder.

    Args:
        folder: created when absent.
        kind: the config class; its field names differ by family, so `config` is complete.
        tokenizer: keyword arguments of `tiny_tokenizer`.
        seed: of the random weights.
        auto: the auto class that builds the model, e.g. AutoModel for a checkpoint without head.
        dtype: of the saved weights.
        **config: fields of `kind`; vocabulary size and special token ids follow the tokenizer.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = tiny_tokenizer(folder, **(tokenizer or {}))
    tokens = {
        "vocab_size": len(made),
        "bos_token_id": made.bos_token_id,
        "eos_token_id": made.eos_token_id,
        "pad_token_id": made.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = auto.from_config(kind(**{**tokens, **config}))
    model.to(dtype).save_pretrained(str(folder))
    return folder


def tiny_gguf(path: str | Path, llama: str | Path, *, quantised: bool = True, pre: str = "smollm") -> Path:
    """Write the Llama and the tokenizer in folder `llama` as a .gguf file, in Q8_0 or float32;
    return its path.

    Follows llama.cpp's converter: query and key rows are interleaved for its rotary embedding. Q8_0
    needs a hidden size that is a multiple of 32, as that of `tiny_llama` is.
    """
    import gguf
    import numpy as np

    path = Path(path)
    model = AutoModelForCausalLM.from_pretrained(str(llama), dtype=torch.float32)
    tokenizer = json.loads((Path(llama) / "tokenizer.json").read_text(encoding="utf-8"))
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(path.stem)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(config.head_dim)
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(key.split(".")[-2])
        if heads is not None:
            array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        array = np.ascontiguousarray(array)
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if quantised and array.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
