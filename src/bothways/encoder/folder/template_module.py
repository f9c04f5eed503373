"""Templates and last-token means in the sentence-transformers layout: their modules on disk.

    1_LastTokens/config.json     number of states to average
    prompt_templates.py          an unchanged copy of `bothways.encoder.folder.prompt_templates`

`encoder.folder.write` and `read` handle stock modules only, so these modules have a file of their
own. sentence-transformers runs the copied code if you pass trust_remote_code=True, and refuses the
folder otherwise. bothways reads the settings, and never runs code from a folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import Field

from bothways.config import Strict, parse
from bothways.encoder.module import EncoderModule
from bothways.encoder.texts.wrapping import EOS, is_template
from bothways.foreign import read_object
from bothways.pooling import Pooling

CODE = Path(__file__).with_name("prompt_templates.py")
TRANSFORMER = "TemplateTransformer"
POOLING = "LastTokens"
TYPES = (f"{CODE.stem}.{TRANSFORMER}", f"{CODE.stem}.{POOLING}")
"""Their names in modules.json: a file of the folder and a class in it."""


class _Stored(Strict):
    """config.json of the pooling's folder: arguments of `prompt_templates.LastTokens`."""

    width: int = Field(ge=1)
    tokens: int = Field(ge=1)
    include_prompt: bool = False


def has_templates(encoder: EncoderModule) -> bool:
    """Return whether a stored prompt is a template around the text."""
    return any(is_template(prompt) for prompt in encoder.prompts.values())


def is_last_tokens(encoder: EncoderModule) -> bool:
    """Return whether the pooling is the mean of the last few states."""
    return getattr(encoder.pooling, "mode", None) == "last_tokens"


def needs_code(encoder: EncoderModule) -> bool:
    """Return whether sentence-transformers needs our code to run this encoder."""
    return has_templates(encoder) or is_last_tokens(encoder)


def write_code(root: Path) -> None:
    """Copy the code into the encoder's folder."""
    shutil.copyfile(CODE, root / CODE.name)


def write_pooling(encoder: EncoderModule, root: Path) -> tuple[str, str]:
    """Write the pooling's settings. Returns its folder and the module's type."""
    folder = f"1_{POOLING}"
    stored = {
        "width": encoder.dimension,
        "tokens": encoder.pooling.tokens,
        "include_prompt": encoder.options.pool_prompt,
    }
    (root / folder).mkdir()
    (root / folder / "config.json").write_text(
        json.dumps(stored, indent=2) + "\n", encoding="utf-8"
    )
    return folder, TYPES[1]


def read_pooling(place: Path) -> tuple[Pooling, bool]:
    """Read the pooling of a module folder, and whether prompts are pooled too.

    Raises:
        InputError: the settings are damaged.
    """
    file = place / "config.json"
    stored = parse(_Stored, read_object(file), where=str(file))
    return Pooling("last_tokens", tokens=stored.tokens), stored.include_prompt


def notes(encoder: EncoderModule) -> list[str]:
    """List what other loaders cannot do, one sentence each."""
    found = []
    if is_last_tokens(encoder):
        found.append(
            f"the mean of the last {encoder.pooling.tokens} states is a module of this folder ({CODE.name}): SentenceTransformer needs "
            "trust_remote_code=True, and loaders with stock poolings only (vLLM, TEI, llama.cpp) cannot use it"
        )
    names = ", ".join(repr(name) for name, prompt in encoder.prompts.items() if is_template(prompt))
    if names:
        ends = any(EOS in prompt for prompt in encoder.prompts.values())
        end = f" and {encoder.tokenizer.eos_token} in that of {EOS}" if ends else ""
        found.append(
            f"the prompts {names} are templates around the text: SentenceTransformer needs trust_remote_code=True for them, and for other "
            f"loaders you must send the prompt with {{text}} replaced by the text{end}"
        )
    return found
