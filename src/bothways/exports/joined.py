"""Writes the text between a prompt and its text into the prompts.

LLM2Vec's preset puts one blank between both (`Wrapper.joint`). Loaders do not know such a setting,
but they know prompts. So a prompt "Find:" with the joint " " is exported as "Find: ".
"""

from __future__ import annotations

from dataclasses import replace

from bothways.encoder.encoder import Encoder
from bothways.encoder.texts.wrapping import SLOT, Wrapper
from bothways.exports.as_llama import with_parts


def joined(encoder: Encoder) -> Encoder:
    """Return an encoder without a joint, whose prompts end in it. Its vectors are the same.

    An encoder with a wrapper around its texts is returned unchanged, because exports refuse it.
    """
    options = encoder.options
    wrapper = options.wrapper
    if not wrapper.joint or wrapper.prefix or wrapper.suffix:
        return encoder
    prompts = {
        name: prompt if SLOT in prompt else wrapper.before(prompt)
        for name, prompt in options.prompts.items()
    }
    return with_parts(encoder, options=replace(options, prompts=prompts, wrapper=Wrapper()))
