"""The files that vLLM and text-embeddings-inference (TEI) read of a folder, as data.

Neither server runs here. The rules are read in their source:

- vLLM 0.33.0: model_executor/models/{llama,qwen2,qwen3,gemma3,apertus}.py and registry.py,
  transformers_utils/config.py, model_executor/models/adapters.py
- TEI 1.9: backends/candle/src/models/*.rs, backends/src/lib.rs, router/src/lib.rs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Family:
    """How a server runs one model type in both directions.

    Attributes:
        architecture: the name that config.json must have. If None, the encoder is written as a
            Llama, see `as_llama`.
        flag: the key of config.json that the server's class reads, with the value for both
            directions.
        source: the file that reads it.
        numbers: keys of config.json that the server requires, and their type.
        note: a sentence for the README.
    """

    architecture: str | None
    flag: tuple[str, bool] = ("is_causal", False)
    source: str = ""
    numbers: Mapping[str, type] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Server:
    """One server's rules.

    Attributes:
        title: its name and release.
        families: the model types that it runs in both directions.
        refused: model types for which it would give other vectors, with the reason.
        otherwise: the reason for all other model types.
        poolings: our pooling modes that it has.
        modules: kinds of modules that it knows. It ignores others without a message.
        activations: activations of Dense modules, by the last part of torch's name.
        scaled_positions: whether it reads stretched positions.
    """

    title: str
    families: Mapping[str, Family]
    refused: Mapping[str, str]
    otherwise: str
    poolings: tuple[str, ...] = ("mean", "last", "bos")
    modules: tuple[str, ...] = ("Transformer", "Pooling", "Dense", "Normalize")
    activations: tuple[str, ...] = ("Identity", "Tanh")
    scaled_positions: bool = True


_OWN = [
    "gemma",
    "gemma2",
    "gemma3n_text",
    "gemma4_text",
    "exaone4",
    "falcon",
    "stablelm",
    "glm4",
    "nemotron",
    "mixtral",
    "gpt2",
    "gptj",
    "opt",
    "bloom",
    "cohere",
    "cohere2",
    "qwen2_moe",
    "qwen3_moe",
    "granitemoe",
    "phimoe",
    "olmoe",
]
_BACKEND = [
    "smollm3",
    "olmo",
    "olmo2",
    "olmo3",
    "arcee",
    "starcoder2",
    "gpt_neox",
    "phi",
    "hunyuan_v1_dense",
    "glm",
    "gpt_neo",
    "gpt_bigcode",
    "codegen",
    "persimmon",
    "biogpt",
]
_CAUSAL = "vLLM 0.33.0 runs it causally: its own class for the family does not read is_causal"
_GENERAL = "vLLM 0.33.0 runs it causally: it does not have a class of its own for the family, and transformers' attention layers are causal"
_LLAMA = Family("LlamaModel", source="llama.py")

VLLM = Server(
    title="vLLM 0.33.0",
    families={
        "llama": _LLAMA,
        "mistral": Family("MistralModel", source="llama.py"),
        "qwen2": Family("Qwen2Model", source="qwen2.py"),
        "qwen3": Family("Qwen3Model", source="qwen3.py"),
        "gemma3_text": Family(
            "Gemma3TextModel", ("use_bidirectional_attention", True), "gemma3.py, config.py"
        ),
        "apertus": Family("ApertusModel", source="apertus.py"),
        "ministral3": Family("Ministral3Model", source="mistral.py"),
        **dict.fromkeys(
            ("granite", "seed_oss", "helium", "ernie4_5", "phi3"), Family(None, source="llama.py")
        ),
    },
    refused={**dict.fromkeys(_OWN, _CAUSAL), **dict.fromkeys(_BACKEND, _GENERAL)},
    otherwise="nothing in vLLM 0.33.0 is known to run it in both directions",
    activations=("Identity", "Tanh", "GELU", "ReLU", "SiLU", "Sigmoid"),
)

_GPU = "TEI runs it on CUDA only, in float16 with FlashAttention."
_SIZES = dict.fromkeys(
    [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "pad_token_id",
    ],
    int,
)
_BOTH = ("use_bidirectional_attention", True)
_ENDS = {"bos_token_id": int, "eos_token_id": int}

TEI = Server(
    title="text-embeddings-inference 1.9",
    families={
        "llama": Family(
            "LlamaModel",
            _BOTH,
            "llama.rs",
            {
                **_SIZES,
                **_ENDS,
                "rms_norm_eps": float,
                "rope_theta": float,
                "initializer_range": float,
            },
            _GPU,
        ),
        "mistral": Family(
            "MistralModel",
            _BOTH,
            "mistral.rs",
            {**_SIZES, "rms_norm_eps": float, "rope_theta": float, "initializer_range": float},
            _GPU,
        ),
        "qwen2": Family(
            "Qwen2Model",
            source="flash_qwen2.rs",
            numbers={
                **_SIZES,
                "rope_theta": float,
                "sliding_window": int,
                "use_sliding_window": bool,
            },
            note=_GPU,
        ),
        "qwen3": Family(
            "Qwen3Model",
            _BOTH,
            "qwen3.rs",
            {
                **_SIZES,
                "eos_token_id": int,
                "rope_theta": float,
                "attention_bias": bool,
                "use_sliding_window": bool,
            },
            "TEI runs it on CPU, Metal and CUDA.",
        ),
        "gemma3_text": Family(
            "Gemma3TextModel",
            _BOTH,
            "gemma3.rs",
            {
                **_SIZES,
                "rope_theta": float,
                "rope_local_base_freq": float,
                "query_pre_attn_scalar": int,
                "_sliding_window_pattern": int,
                "attention_bias": bool,
            },
            "TEI runs it in float32 only, on CPU, Metal and CUDA.",
        ),
        **dict.fromkeys(
            ("granite", "helium", "ernie4_5", "phi3"), Family(None, _BOTH, "llama.rs", note=_GPU)
        ),
    },
    refused={"seed_oss": "TEI's Llama does not have biases in its attention"},
    otherwise="TEI 1.9 does not have a class for the family",
    scaled_positions=False,
)

SERVERS = {"vllm": VLLM, "tei": TEI}
"""The rules of each server, by the value of `--to`."""
