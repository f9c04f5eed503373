"""The color of a value between 0 and 1: cividis, which looks alike to all common color visions.

Nuñez, Anderton & Renslow 2018 (PLoS ONE 13(7): e0199239): from dark blue through gray to yellow,
with evenly growing lightness, so it also survives printing in gray. Ten of its colors are enough as
anchors. The categorical colors, which differ between light and dark mode, are in style.css.
"""

from __future__ import annotations

_ANCHORS = (
    "00204d",
    "00336f",
    "39486b",
    "575c6d",
    "707173",
    "8a8779",
    "a69d75",
    "c4b56c",
    "e4cf5b",
    "ffea46",
)
_RGB = [tuple(int(anchor[i : i + 2], 16) for i in (0, 2, 4)) for anchor in _ANCHORS]


def level(value: float) -> str:
    """Return `#rrggbb` for a value, clamped to [0, 1]."""
    at = min(max(value, 0.0), 1.0) * (len(_RGB) - 1)
    i = min(int(at), len(_RGB) - 2)
    mixed = (round(a + (b - a) * (at - i)) for a, b in zip(_RGB[i], _RGB[i + 1]))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def dark_ink(value: float) -> bool:
    """Tell if black reads better than white on `level(value)`.

    It does if the relative luminance (WCAG 2) is above 0.179.
    """
    channels = (int(level(value)[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179
