"""Writes the folder of a GGUF export: the file, a Modelfile for Ollama, and a README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bothways.encoder.encoder import Encoder
from bothways.exports.gguf.gguf_file import write_gguf
from bothways.exports.manifest import BARS, write_manifest
from bothways.exports.reference import ReferenceRow, prompt_section, rows


def write_folder(encoder: Encoder, folder: Path, name: str, dtype: str) -> None:
    """Write the .gguf file and the files for its users into an empty folder.

    Raises:
        InputError, UnsupportedFamily, MissingExtra: as `write_gguf` does.
    """
    file = f"{name}-{dtype.upper()}.gguf"
    write_gguf(encoder, folder / file, dtype=dtype, name=name)
    reference = rows(encoder)
    config: Any = encoder.backbone.config
    tokens = encoder.max_length or int(config.get_text_config().max_position_embeddings)
    command = f"llama-server -m {file} --embeddings -c {tokens} -b {tokens} -ub {tokens}"
    write_manifest(
        folder,
        "gguf",
        dtype,
        reference,
        file=file,
        tokens=tokens,
        normalize=encoder.options.normalize,
        prompts=dict(encoder.options.prompts),
        commands={"llama.cpp": command, "Ollama": _ollama(name)},
    )
    (folder / "Modelfile").write_text(
        f"FROM ./{file}\nPARAMETER num_ctx {tokens}\nPARAMETER num_batch {tokens}\n",
        encoding="utf-8",
    )
    (folder / "README.md").write_text(
        _readme(name, file, command, tokens, dtype, reference), encoding="utf-8"
    )


_JSON = "-H 'Content-Type: application/json'"


def _ollama(name: str) -> str:
    """Return the command that gives the folder to Ollama."""
    return f"ollama create {name.lower()} -f Modelfile"


def _readme(
    name: str, file: str, command: str, tokens: int, dtype: str, reference: list[ReferenceRow]
) -> str:
    lines = [
        f"# {name}, {dtype.upper()}",
        "",
        "A bidirectional text encoder for llama.cpp and Ollama. The file itself says that attention is not causal and how",
        "tokens are pooled (`attention.causal`, `pooling_type`), so no option is needed for either. It needs a llama.cpp of",
        "March 2026 or newer: an older one reads the text causally and does not report it.",
        "",
        "```",
        command,
        "```",
        "",
        "It is running if this prints a vector, in another terminal:",
        "",
        "```",
        f'curl http://127.0.0.1:8080/v1/embeddings {_JSON} -d \'{{"input": ["a text"]}}\'',
        "```",
        "",
        f"A text without a causal mask must fit into one batch, so `-b` and `-ub` are the longest text ({tokens} tokens).",
        "llama.cpp refuses longer texts, and bothways cuts them. Its server normalizes vectors unless the request says",
        '`"embd_normalize": -1`.',
        "",
        "## Ollama",
        "",
        "It runs llama.cpp's code, and was not measured by itself.",
        "",
        "```",
        _ollama(name),
        f'curl http://127.0.0.1:11434/api/embed {_JSON} -d \'{{"model": "{name.lower()}", "input": ["a text"]}}\'',
        "```",
        "",
        "## Check it",
        "",
        f"`bothways verify-export .` (needs `pip install xllamacpp`). The cosine must be at least {BARS[dtype]}.",
    ]
    lines += prompt_section(
        reference,
        column="text before each text",
        explanation="A .gguf file does not store prompts. Put them before each text yourself. llama.cpp pools them with\n"
        "the text. The cosine compares this with the vector of bothways for one short query.",
    )
    return "\n".join(lines) + "\n"
