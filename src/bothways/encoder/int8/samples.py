"""Texts on which the loss of int8 is measured, for callers who give none of their own.

They are of many kinds, because 8 bits lose most on a single word, code, markup and repetition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bothways.encoder.texts.tokenization import Text

CHOSEN = (
    "The committee approved the new budget on Tuesday evening, after a debate of more than four hours.",
    "def main(args):\n    return [each.strip() for each in args if each]",
    "what is the capital of France",
    "Cells were incubated at 37 °C for 24 h and fixed with 4% paraformaldehyde before they were stained.",
    "yes",
    "cats and dogs",
    "no no no no no no no no",
    "In 1998 the town had 12,345 people, 3.5% more than in 1990.",
    "Der Zug nach Berlin fährt heute um acht Uhr ab.",
    "오늘은 날씨가 좋아서 강가를 오래 걸었습니다.",
    "The Kaluga River is a tributary of the Oka in the west of Russia.",
    "how do I reset my password",
    "import numpy as np  # arrays",
    "?!",
)
"""Texts by which layers are chosen."""

HELD = (
    "A cat sits on the warm window sill and watches the rain.",
    "def f(x): return x + 1",
    "who wrote the first dictionary of English",
    "Treatment with the inhibitor reduced the number of infected cells to 12% (p < 0.01) within two days.",
    "bank",
    "what do dogs eat",
    "the the the the",
    "police probe after 3 die in wa crash",
    "= Senjō no Valkyria 3 = \n The game sold 1 @,@ 500 copies in 2011 .",
    "Wie hoch ist der Turm?",
    "The Guaraúna River runs through the state of Paraná in the south of Brazil.",
    "how tall is Mount Everest",
    "SELECT name FROM users WHERE id = 7;",
    "1234567890",
    "She had promised to call on Sunday; he waited until midnight, and then he went to bed.",
    "Find a recipe for soup without onions, please",
)
"""Other texts, on which the result is measured."""

OWN = 32
"""Texts that are taken of a caller's own. Half of them choose, and half measure."""


def divided(texts: Iterable[Text] | None) -> tuple[list[Text], list[Text]]:
    """Return the texts that choose and the texts that measure.

    A caller's own come in addition to those above, every n-th of them.
    """
    own: Sequence[Text] = [] if texts is None else list(texts)
    taken = [own[index * len(own) // OWN] for index in range(OWN)] if len(own) > OWN else own
    return [*CHOSEN, *taken[::2]], [*HELD, *taken[1::2]]
