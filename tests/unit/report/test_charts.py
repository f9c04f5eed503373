"""Charts in parts: scales, labels that do not touch, colours that can be told apart, and values
where they belong.
"""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import bothways.report
from bothways.report.charts.canvas import SERIES, Scale, Style, spread, tick_text
from bothways.report.charts.colors import dark_ink, level
from bothways.report.charts.forest import ForestRow, forest
from bothways.report.charts.heatmap import Axis, heatmap
from bothways.report.charts.lines import Series, lines, thin
from bothways.report.charts.scatter import Point, lens
from bothways.report.markup import clip, esc, number, short_labels, width

CSS = (Path(bothways.report.__file__).parent / "style.css").read_text(encoding="utf-8")


def test_scales_and_ticks() -> None:
    x = Scale(10, 20, 100, 300)
    assert [x(10), x(15), x(20), x(99)] == [100, 200, 300, 300]
    assert Scale(0.01, 1, 0, 100, log=True)(0.1) == pytest.approx(50)
    assert Scale(0, 0.97, 0, 1).ticks(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert Scale(-12, 31, 0, 1).ticks(5) == [-10, 0, 10, 20, 30]
    assert Scale(1e-4, 1, 0, 1, log=True).ticks(5) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert Scale(0.1, 1, 0, 1, log=True).ticks(5) == pytest.approx([0.1, 0.2, 0.5, 1])
    assert Scale(3, 3, 0, 1).ticks() == [3]
    for low, high in np.random.default_rng(0).normal(0, 1000, (200, 2)):
        ticks = Scale(min(low, high), max(low, high), 0, 1).ticks(5)
        assert 2 <= len(ticks) <= 6
        assert len({tick_text(tick, ticks) for tick in ticks}) == len(ticks)
    assert tick_text(20000, [0, 10000, 20000]) == "20k"
    assert tick_text(0.025, [0, 0.025, 0.05]) == "0.025"


def test_labels_are_moved_apart_and_no_further() -> None:
    rng = np.random.default_rng(0)
    for count in range(1, 12):
        places = rng.uniform(30, 200, count).tolist()
        moved = spread(places, 13, 30, 200)
        assert min(moved) >= 30 - 1e-9
        assert max(moved) <= 200 + 1e-9
        assert np.diff(sorted(moved)).min(initial=99) >= 13 - 1e-9
        assert np.argsort(moved, kind="stable").tolist() == np.argsort(places, kind="stable").tolist()
    assert spread([50, 100, 150], 13, 30, 200) == [50, 100, 150]
    assert spread([100, 100], 10, 0, 200) == [95, 105]
    assert np.diff(spread([5.0] * 30, 13, 0, 100)).min() > 0, "too many labels share the room"


def test_numbers_and_labels() -> None:
    assert number(-0.04) == number(0.0) == "0.0"
    assert number(-1.25, 2) == "−1.25"
    assert number(1.0, 1, sign=True) == "+1.0"
    assert number(float("nan")) == "–"
    assert esc("<a href='x'>\x00\u202e\ud800") == "&lt;a href=&#x27;x&#x27;&gt;\ufffd\ufffd\ufffd"
    assert width("日本a") == 5
    assert clip("abcdefghij", 5) == "ab…ij"
    assert width(clip("日本語の長い名前", 7)) <= 7
    labels = ["base causal", "base bidirectional", "base bidirectional + mntp"]
    assert short_labels(labels, 20) == ["causal", "bi", "bi + mntp"]
    alike = short_labels(["a" * 30 + str(i) + "b" * 30 for i in range(3)], 12)
    assert len(set(alike)) == 3
    assert all(width(label) <= 12 for label in alike)
    assert short_labels(["a x", "b x", "a y", "b y"], 9) == ["a x", "b x", "a y", "b y"], (
        "dropping the base would make two alike"
    )


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


def test_heatmap_puts_each_value_into_its_cell() -> None:
    chart = heatmap(
        "t", "d", [[0.0, 1.0], [None, 0.5]], rows=Axis("r", ["a", "b"]), columns=Axis("c", ["x", "y"]), numbers=True
    )
    cells = {}
    for path, fill in re.findall(r'<path d="([^"]+)" fill="(#\w+)" class="cells"/>', chart):
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)h", path):
            cells[float(x), float(y)] = fill
    (top, bottom), (left, right) = sorted({y for _, y in cells}), sorted({x for x, _ in cells})
    assert len(cells) == 3
    assert cells[left, top] == level(0.5 / 32)
    assert cells[right, top] == level(31.5 / 32)
    assert cells[right, bottom] == level(16.5 / 32)
    assert re.findall(r'class="(?:black|white)">(\d+)<', chart) == ["0", "100", "50"]


def test_forest_marks_what_leaves_zero_out() -> None:
    rows = [
        ForestRow("clear", Style(0), 2.0, (1.0, 3.0)),
        ForestRow("chance", Style(1), 0.5, (-1.0, 2.0)),
        ForestRow("unknown", Style(2), 1.0, None),
    ]
    chart = forest("t", "d", rows, difference=True)
    assert re.findall(r'class="(mark s\d(?: hollow)?)"', chart) == ["mark s0", "mark s1 hollow", "mark s2"]
    assert chart.count("whisker") == 2
    assert "clear: +2.0, 95 % interval +1.0 to +3.0" in chart


def test_lines_keep_ends_and_survive_one_point() -> None:
    points = [(float(i), float(i * i)) for i in range(10_000)]
    thinned = thin(points)
    assert thinned[0] == points[0]
    assert thinned[-1] == points[-1]
    assert len(thinned) == 180
    chart = lines("t", "d", [Series("m", Style(9), [(5.0, 2.0)])], x_label="x", y_label="y")
    assert "NaN" not in chart
    assert 'class="line s1 d1"' in chart


def test_ten_models_in_one_place_still_have_labels() -> None:
    points = [Point(f"model number {i}", Style(i), -2.0, 0.3) for i in range(10)]
    chart = lens("t", "d", points)
    places = re.findall(r'<text x="([-\d.]+)" y="([-\d.]+)" text-anchor="\w+" class="label">', chart)
    assert len(set(places)) == 10
