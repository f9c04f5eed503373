"""Writes the README of a folder for vLLM or text-embeddings-inference.

It has the server's command and the differences between the server and bothways.
"""

from __future__ import annotations

from collections.abc import Sequence

from bothways.attention.older_loaders import OLDEST
from bothways.encoder.encoder import Encoder
from bothways.exports.reference import ReferenceRow, prompt_section
from bothways.exports.servers.server_rules import SERVERS, Family

_JSON = "-H 'Content-Type: application/json'"
_ASK = {
    "vllm": f"""curl http://127.0.0.1:8000/v1/embeddings {_JSON} -d '{{"model": ".", "input": ["a text"]}}'""",
    "tei": f"""curl http://127.0.0.1:3000/embed {_JSON} -d '{{"inputs": ["a text"]}}'""",
}
_POOLING = {"mean": "mean", "last": "last-token", "bos": "cls"}


def command(encoder: Encoder, target: str, family: Family, tokens: int, folder: str = ".") -> str:
    """Return the command that starts the server."""
    if target == "vllm":
        return f"vllm serve {folder} --runner pooling --convert embed --max-model-len {tokens}"
    kind = "float32" if "float32" in family.note else "float16"
    mode = _POOLING[str(encoder.pooling.mode)]
    return (
        f"text-embeddings-router --model-id {folder} --pooling {mode} --dtype {kind} "
        f"--max-batch-tokens {max(16384, tokens)} --auto-truncate"
    )


def readme(
    encoder: Encoder,
    name: str,
    target: str,
    family: Family,
    tokens: int,
    reference: list[ReferenceRow],
    widths: Sequence[int] = (),
) -> str:
    """Return the text of the README.

    Args:
        encoder: the encoder that was exported.
        name: the model's name.
        target: a key of `SERVERS`.
        family: how the server runs it.
        tokens: tokens of the longest text.
        reference: the rows of the export.
        widths: the widths that a Matryoshka encoder was trained for. Empty if it is none.
    """
    server = SERVERS[target]
    key, value = family.flag
    early = (
        f"**Needs transformers {OLDEST} or newer if you load it with transformers or sentence-transformers.** Older releases read it\n"
        "causally and give other vectors without an error. vLLM reads the direction by itself."
        if target == "vllm"
        else f"**Needs transformers {OLDEST} or newer if you load it with transformers.** Releases 5.0 and 5.1 read it causally and give\n"
        "other vectors without an error. Version 4 refuses it."
    )
    lines = [
        f"# {name}, for {server.title}",
        "",
        early,
        "",
        "```",
        command(encoder, target, family, tokens),
        "```",
        "",
        "It is running if this prints a vector, in another terminal:",
        "",
        "```",
        _ASK[target],
        "```",
        "",
        f"Attention in both directions: the server reads `{key}` ({str(value).lower()} here) in {family.source}. {family.note}".rstrip(),
        "This is by rule, not measured: `bothways verify-export .` checks these files against the rules in the server's source, and",
        "runs them in sentence-transformers.",
        "",
        _long(target, tokens),
        "The server normalizes vectors."
        if target == "tei" or encoder.options.normalize
        else "The server does not normalize vectors.",
    ]
    if widths and target == "vllm":
        said = ", ".join(str(width) for width in widths)
        lines.append(f'A request may ask for shorter vectors: `"dimensions"` of {said}.')
    if family.architecture is None:
        kind = encoder.backbone.config.get_text_config().model_type  # type: ignore[operator,union-attr]
        lines += [
            "",
            f"The weights are those of {kind}, written as Llama, which the server runs in both directions.",
        ]
    lines += prompt_section(
        reference,
        column="text to send",
        explanation="Put them before each text yourself. The server pools them with the text. The cosine compares this\n"
        "with the vector of bothways for one short query.",
    )
    return "\n".join(lines) + "\n"


def _long(target: str, tokens: int) -> str:
    if target == "vllm":
        return f'vLLM refuses a text of more than {tokens} tokens, unless the request says `"truncate_prompt_tokens": {tokens}`.'
    return f"A text is cut after {tokens} tokens."
