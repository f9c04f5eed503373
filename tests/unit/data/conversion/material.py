"""Texts of four labels, one of which occurs once."""

from bothways.data.labeled.labeled_text import LabeledText

CLASSES = ("card_arrival", "top_up", "pin", "rare")
ITEMS = [LabeledText(f"text {number} about {label}", (label,), number) for number in range(12) for label in CLASSES[:3]]
ITEMS += [LabeledText("the only rare one", ("rare",), 99)]
