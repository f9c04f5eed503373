"""Checks the files of an exported folder against the rules of its server.

The rules are read in the server's source. The server itself does not run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bothways.attention.text_config import is_window
from bothways.encoder.folder.stock_pooling import POOLINGS
from bothways.errors import InputError
from bothways.exports.servers.server_rules import SERVERS, Family, Server
from bothways.folder_files import MODULES, TRANSFORMER_SETTINGS
from bothways.foreign import read_object

_TYPES = {
    f"sentence_transformers.models.{kind}": kind
    for kind in ("Transformer", "Pooling", "Dense", "Normalize")
}


@dataclass(frozen=True)
class ServerRule:
    """One rule of a server and what the folder has.

    Attributes:
        server: for example "vLLM 0.33.0".
        rule: the requirement in the server's source.
        fault: the difference in the folder. "" if it follows the rule.
    """

    server: str
    rule: str
    fault: str = ""

    @property
    def ok(self) -> bool:
        """True if the folder follows the rule."""
        return not self.fault


@dataclass(frozen=True)
class Files:
    """The files of a folder that a server reads."""

    folder: Path
    config: dict[str, Any]
    modules: list[dict[str, Any]]
    pooling: dict[str, Any]
    lengths: dict[str, Any]
    tokenizer: dict[str, Any]
    server: Server
    family: Family
    model_type: str


def check_rules(folder: Path, target: str, model_type: str) -> list[ServerRule]:
    """Compare an exported folder with its server's rules.

    Args:
        folder: the export.
        target: a key of `SERVERS`.
        model_type: the encoder's family.

    Raises:
        InputError: if a file is missing or damaged.
    """
    server = SERVERS[target]
    try:
        modules = json.loads((folder / MODULES).read_text(encoding="utf-8"))
        files = Files(
            folder,
            read_object(folder / "config.json"),
            modules,
            read_object(folder / "1_Pooling" / "config.json"),
            read_object(folder / TRANSFORMER_SETTINGS),
            read_object(folder / "tokenizer_config.json"),
            server,
            server.families[model_type],
            model_type,
        )
        return [
            ServerRule(server.title, rule.format(**_words(files)), fault(files) or "")
            for rule, fault in RULES
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder}: damaged ({type(error).__name__}); export the model again"
        ) from None


def _words(files: Files) -> dict[str, Any]:
    key, value = files.family.flag
    return {
        "architecture": files.family.architecture or "LlamaModel",
        "flag": f'"{key}": {json.dumps(value)}',
        "source": files.family.source,
    }


def _architecture(files: Files) -> str | None:
    found = files.config.get("architectures")
    return None if found == [_words(files)["architecture"]] else f"architectures is {found}"


def _flag(files: Files) -> str | None:
    key, value = files.family.flag
    found = files.config.get(key)
    return (
        None
        if found is value
        else f"{key} is {json.dumps(found)}, so the server would read texts causally"
    )


def _windows(files: Files) -> str | None:
    size = files.config.get("sliding_window")
    if files.config.get("use_sliding_window") is False or not is_window(size):
        return None
    used = "sliding_attention" in (files.config.get("layer_types") or ["sliding_attention"])
    return (
        f"sliding_window is {size}"
        if used and size < files.config["max_position_embeddings"]
        else None
    )


def _pooling(files: Files) -> str | None:
    known = {POOLINGS[mode][0]: POOLINGS[mode][1] for mode in files.server.poolings}
    true = [
        name
        for name, value in sorted(files.pooling.items())
        if name.startswith("pooling_mode_") and value is True
    ]
    if len(true) != 1 or true[0] not in known:
        return f"1_Pooling/config.json has {' and '.join(true) or 'no mode'}"
    mode = files.pooling.get("pooling_mode")
    return None if mode == known[true[0]] else f"pooling_mode is {mode}, and {true[0]} is true"


def _modules(files: Files) -> str | None:
    kinds = [_TYPES.get(module["type"], module["type"]) for module in files.modules]
    unknown = [kind for kind in kinds if kind not in files.server.modules]
    if unknown:
        return f"modules.json has {unknown[0]}"
    behind = kinds[2:]
    if kinds[:2] != ["Transformer", "Pooling"] or "Normalize" in behind[:-1]:
        return f"modules.json has the order {', '.join(kinds)}"
    for module, kind in zip(files.modules, kinds):
        if kind == "Dense":
            place = files.folder / module["path"]
            activation = str(
                read_object(place / "config.json").get("activation_function")
            ).rpartition(".")[2]
            if activation not in files.server.activations:
                return f"{module['path']} has the activation {activation}"
            if not (place / "model.safetensors").is_file():
                return f"{module['path']} does not have model.safetensors"
    return None


def _length(files: Files) -> str | None:
    found, most = files.lengths.get("max_seq_length"), files.config["max_position_embeddings"]
    right = isinstance(found, int) and not isinstance(found, bool) and 1 <= found <= most
    return None if right else f"max_seq_length is {json.dumps(found)}, with {most} positions"


def _tokenizer(files: Files) -> str | None:
    if not (files.folder / "tokenizer.json").is_file():
        return "tokenizer.json is missing"
    if files.tokenizer.get("tokenizer_class") != "PreTrainedTokenizerFast":
        return f"tokenizer_class is {files.tokenizer.get('tokenizer_class')}"
    if isinstance(files.tokenizer.get("extra_special_tokens"), list):
        return "extra_special_tokens is a list"
    return "there is a chat template" if (files.folder / "chat_template.jinja").exists() else None


def _numbers(files: Files) -> str | None:
    for key, kind in files.family.numbers.items():
        found = files.config.get(key)
        right = isinstance(found, (int, float) if kind is float else kind) and isinstance(
            found, bool
        ) == (kind is bool)
        if not right:
            return f"{key} is {json.dumps(found)}"
    return None


def _positions(files: Files) -> str | None:
    if files.server.scaled_positions:
        return None
    rope = files.config.get("rope_parameters") or {}
    kinds = [rope] if "rope_type" in rope else list(rope.values())
    scaled = [each for each in kinds if each.get("rope_type", "default") != "default"]
    partial = [each for each in kinds if each.get("partial_rotary_factor", 1.0) != 1.0]
    if scaled or files.config.get("rope_scaling"):
        return f"positions are stretched ({scaled[0]['rope_type'] if scaled else 'rope_scaling'})"
    return "only a part of each head is rotated" if partial else None


def _widths(files: Files) -> str | None:
    config = files.config
    width = config.get("head_dim")
    if files.server is SERVERS["tei"] and config["model_type"] in ("mistral", "qwen2"):
        plain = config["hidden_size"] // config["num_attention_heads"]
        return (
            None if width in (None, plain) else f"head_dim is {width}, and the server uses {plain}"
        )
    return None


def _computes(files: Files) -> str | None:
    found = files.config.get("hidden_act", "silu")
    if files.model_type != "apertus" and found not in ("silu",):
        return f"hidden_act is {found}"
    biased = [key for key in ("attention_bias", "mlp_bias") if files.config.get(key)]
    return (
        f"{biased[0]} is true"
        if biased and files.server is SERVERS["tei"] and files.config["model_type"] == "llama"
        else None
    )


def _narrower(files: Files) -> str | None:
    dimensions = files.config.get("matryoshka_dimensions")
    if dimensions is None and not files.config.get("is_matryoshka"):
        return None
    right = bool(dimensions) and all(
        isinstance(each, int) and each >= 1 for each in dimensions or ()
    )
    return (
        None
        if right and files.config.get("is_matryoshka") is True
        else f"matryoshka_dimensions is {json.dumps(dimensions)}"
    )


def _weights(files: Files) -> str | None:
    found = any(
        (files.folder / name).is_file()
        for name in ("model.safetensors", "model.safetensors.index.json")
    )
    return None if found else "model.safetensors is missing"


RULES: tuple[tuple[str, Callable[[Files], str | None]], ...] = (
    ("architectures names {architecture}", _architecture),
    ("config.json has {flag}, which {source} reads", _flag),
    ("no layer has a sliding window", _windows),
    (
        "one pooling that the server has, in the older booleans and in the newer pooling_mode",
        _pooling,
    ),
    (
        "modules that the server knows: a transformer, a pooling, Dense layers, a normalization",
        _modules,
    ),
    ("max_seq_length is a number, within the positions", _length),
    ("tokenizer files that transformers 4 reads too, without a chat template", _tokenizer),
    ("every key that the server requires has a value of its type", _numbers),
    ("positions that the server computes", _positions),
    ("heads of the width that the server uses", _widths),
    ("an activation, and biases, that the server computes", _computes),
    ("widths of a Matryoshka encoder are listed", _narrower),
    ("weights are safetensors", _weights),
)
"""Each rule in words, and a function that returns the fault of a folder or None."""
