"""The parts around a text: instruction, template and chat wrapping, as strings.

`tokenization` turns them into tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SLOT = "{text}"
"""Place of the text in a template, for example "Text: {text} Summary:{eos}"."""
EOS = "{eos}"
"""Place of the tokenizer's EOS token in a template."""


def is_template(instruction: str) -> bool:
    """Return whether an instruction is a template around the text, for example "Text: {text}"."""
    return SLOT in instruction


@dataclass(frozen=True)
class Wrapper:
    """Chat wrapping of every input: `prefix + instruction + joint + text + suffix`.

    For example, `Wrapper("[INST] ", " [/INST]", " ")`.

    Args:
        prefix: before everything.
        suffix: after the text.
        joint: separator of instruction and text, which replaces white space at the instruction's
            end. White space between the text and a suffix is also removed, as in LLM2Vec, so "a
            cat" and "a cat " have the same vector. If "", keep all white space.
    """

    prefix: str = ""
    suffix: str = ""
    joint: str = ""

    def before(self, instruction: str) -> str:
        """Build the part before the text."""
        if instruction.strip() and self.joint:
            instruction = instruction.rstrip() + self.joint
        return self.prefix + instruction


class Frame(NamedTuple):
    """The parts around a text.

    Args:
        before: in front of the text.
        joined: after the text, tokenized with it.
        closing: ids that end the row, tokenized by themselves.
    """

    before: str
    joined: str
    closing: list[int]
