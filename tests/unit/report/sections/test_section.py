"""One look for each model and run, and names that cannot become markup."""

from __future__ import annotations

from bothways.report.charts.canvas import SERIES, Style
from bothways.report.sections.section import grid, marked_name, styles, swatch


def test_a_run_shares_the_look_of_the_model_of_its_name() -> None:
    found = styles(["a", "b"], ["b", "c"])
    assert found == {"a": Style(0), "b": Style(1), "c": Style(2)}


def test_runs_start_again_if_colors_run_out() -> None:
    models = [f"m{i}" for i in range(SERIES - 1)]
    assert styles(models, ["run"])["run"] == Style(SERIES - 1)
    assert styles(models, ["run", "other"])["run"] == Style(0)


def test_each_round_of_colors_has_another_shape() -> None:
    shapes = {swatch(Style(round_ * SERIES)).split("<", 2)[2] for round_ in range(4)}
    assert len(shapes) == 4
    assert swatch(Style(4 * SERIES)) == swatch(Style(0))


def test_a_name_stays_text() -> None:
    shown = marked_name("<b>&", Style(0))
    assert shown.endswith('<bdi class="model">&lt;b&gt;&amp;</bdi>')


def test_charts_are_put_in_order() -> None:
    assert grid(["one", "two"]) == '<div class="grid"><figure>one</figure><figure>two</figure></div>'
