"""Colors that can be told from the page and from each other, for every common vision."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import bothways.report
from bothways.report.charts.canvas import SERIES
from bothways.report.charts.colors import dark_ink, level

CSS = (Path(bothways.report.__file__).parent / "style.css").read_text(encoding="utf-8")


def _schemes() -> list[tuple[str, list[str]]]:
    light, dark = CSS.split("prefers-color-scheme: dark", 1)
    found = []
    for part in (light, dark):
        card = re.search(r"--card: (#\w{6})", part)
        assert card is not None
        found.append((card[1], [re.search(rf"--s{i}: (#\w{{6}})", part)[1] for i in range(SERIES)]))  # type: ignore[index]
    return found


def _linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def _luminance(colour: str) -> float:
    return float(_linear(colour) @ [0.2126, 0.7152, 0.0722])


def _lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB, D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    scaled = xyz / [0.95047, 1.0, 1.08883]
    f = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Machado, Oliveira & Fernandes 2009, severity 1, on linear sRGB
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_and_apart_for_every_common_vision(scheme: int) -> None:
    card, colours = _schemes()[scheme]
    for colour in colours:
        bright, dim = sorted((_luminance(colour), _luminance(card)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 3, f"{colour} on {card}: WCAG 2 asks for 3 in graphics"
    for name, matrix in VISION.items():
        labs = [_lab(np.clip(matrix @ _linear(colour), 0, 1)) for colour in colours]
        distances = {(a, b): float(np.linalg.norm(labs[a] - labs[b])) for a, b in combinations(range(SERIES), 2)}
        # a difference of 2.3 is just noticed side by side; lines need several times that, and five
        # models are the usual number
        assert min(distance for (_, b), distance in distances.items() if b < 5) > 16, (name, distances)
        assert min(distances.values()) > 10, (name, sorted(distances.items(), key=lambda item: item[1])[:3])


def test_heat_colours_grow_lighter_evenly() -> None:
    lightness = [_lab(_linear(level(value)))[0] for value in np.linspace(0, 1, 33)]
    steps = np.diff(lightness)
    assert steps.min() > 0
    assert steps.max() < 2.2 * steps.min()
    for value in np.linspace(0, 1, 33):
        back, ink = _luminance(level(value)), 0.0 if dark_ink(value) else 1.0
        assert (max(back, ink) + 0.05) / (min(back, ink) + 0.05) >= 4.5, "WCAG 2 asks for 4.5 in text"
    assert level(-1) == level(0)
    assert level(2) == level(1)
