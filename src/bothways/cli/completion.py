"""Completion in the shell: after `bothways --install-completion`, Tab completes names.

Verbs and options are typer's matter. This file adds the values of closed sets: tasks, recipes,
presets, poolings, dialects and so on. A Tab must not load torch, which takes seconds, so names from
modules that need it are written out here. A test compares them with those modules.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, get_type_hints

import typer
from typer.models import ParameterInfo

_VARIABLE = "_BOTHWAYS_COMPLETE"

RECIPES = ("llm2vec", "simcse", "nv_embed", "llara", "longlora")
PRESETS = ("published", "laptop")
POOLINGS = (
    *("mean", "weighted_mean", "last", "last_tokens", "bos", "max", "mean_sqrt_len"),
    *("latent_attention", "self_attention", "first_last_avg"),
)
BASES = ("smollm2-135m",)
DIRECTIONS = ("bidirectional", "causal")
GRAPHS = ("auto", "openvino", "none")
TYPES = ("auto", "float32", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda", "mps")
TARGETS = (
    *("gguf", "ollama", "onnx", "openvino"),
    *("sentence-transformers", "vllm", "tei", "llm2vec"),
)


def _tasks() -> Iterable[str]:
    from bothways.evaluation.registry import kinds

    return [form if form == kind else f"{kind}:" for kind, form in kinds().items()]


def _dialects() -> Iterable[str]:
    from bothways.data.labeled.dialects import NAMES

    return NAMES


def _templates() -> Iterable[str]:
    from bothways.data.labeled.templates import TEMPLATES

    return TEMPLATES


def _sizes() -> Iterable[str]:
    from bothways.cli.demo_size import SIZES

    return [size.name for size in SIZES]


_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "ablate base": lambda: BASES,
    "ablate eval_poolings": lambda: POOLINGS,
    "ablate poolings": lambda: POOLINGS,
    "ablate recipe": lambda: RECIPES,
    "ablate rows": lambda: ("uni", "bi", "bi+mntp", "bi+mntp+simcse"),
    "ablate tasks": _tasks,
    "convert base": lambda: BASES,
    "demo base": lambda: BASES,
    "demo size": _sizes,
    "evaluate task": _tasks,
    "export quantize": lambda: ("int8", "q8_0"),
    "export to": lambda: TARGETS,
    "export dtype": lambda: ("f32", "f16", "q8_0", "int8"),
    "mine backend": lambda: ("exact", "faiss"),
    "mine store": lambda: ("float32", "float16"),
    "mine with_": lambda: ("bm25", "hybrid:"),
    "recipes name": lambda: RECIPES,
    "train base": lambda: BASES,
    "train dev": _tasks,
    "train recipe": lambda: RECIPES,
    "device": lambda: DEVICES,
    "dialect": _dialects,
    "direction": lambda: DIRECTIONS,
    "dtype": lambda: TYPES,
    "graph": lambda: GRAPHS,
    "model": lambda: BASES,
    "pooling": lambda: POOLINGS,
    "preset": lambda: PRESETS,
    "quantize": lambda: ("int8",),
    "rope": lambda: ("linear", "yarn", "dynamic"),
    "template": _templates,
    "unit": lambda: ("line", "document"),
    "windows": lambda: ("lift", "keep"),
}
"""Names by the parameter that takes them, as "VERB parameter" or for all verbs."""


def complete_if_asked(app: typer.Typer) -> None:
    """Answer the shell and exit, if a Tab started this process.

    The script that `--install-completion` writes sets the variable.
    """
    if _VARIABLE not in os.environ:
        return
    add_names(app)
    typer.main.get_command(app).main(prog_name="bothways")


def add_names(app: typer.Typer) -> None:
    """Give the parameters of all verbs the names that Tab completes."""
    for info in app.registered_commands:
        if info.callback is not None:
            _add(info.name or "", info.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_names(group.typer_instance)


def _add(verb: str, command: Callable[..., Any]) -> None:
    hints = get_type_hints(command, include_extras=True)
    for name, hint in hints.items():
        names = _NAMES.get(f"{verb} {name}", _NAMES.get(name))
        for info in getattr(hint, "__metadata__", ()):
            if names is not None and isinstance(info, ParameterInfo):
                info.autocompletion = _completer(names)
    command.__annotations__ = hints  # evaluated, or typer would evaluate them again without names


def _completer(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return complete
