"""Numbers, escaped texts and short labels."""

from __future__ import annotations

from bothways.report.markup import clip, esc, number, short_labels, width


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
