"""Draws the picture of the README from the demo's results, with the report's own chart.

    bothways demo --size full --json > docs/results/demo.json    # some ten minutes on two fast cores
    make picture                                     # docs/demo.svg

The picture is committed. A test compares its numbers with the README's table and with the results.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from bothways.report.charts.canvas import Style
from bothways.report.charts.forest import ForestRow, forest

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PICTURE = ROOT / "docs" / "results" / "demo.json", ROOT / "docs" / "demo.svg"
METRIC = "ndcg@10"
TITLE = "The demo, step by step: nDCG@10"
CSS = ROOT / "src" / "bothways" / "report" / "style.css"
USED = r"^(?:\.chart [t.]|line\.rule|\.mark|\.s\d)"  # rules of the report's style that this chart needs


def picture(results: dict[str, Any]) -> str:
    """Draw the rows of `bothways demo --json` as an SVG file of its own."""
    rows = [ForestRow(row["model"], Style(i), 100 * row[METRIC], None) for i, row in enumerate(results["rows"])]
    told = "; ".join(f"{row.label} {row.value:.1f}" for row in rows)
    svg = forest(TITLE, told, rows, difference=False)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size is not None
    wide, high = (float(number) for number in size.groups())
    inside = f'<style>{_style()}</style><rect width="{wide:g}" height="{high:g}" fill="var(--card)" rx="8"/>'
    start, rest = svg.split(">", 1)
    return f'{start} xmlns="http://www.w3.org/2000/svg" width="{2 * wide:g}" height="{2 * high:g}">{inside}{rest}\n'


def _style() -> str:
    """The report's colors and text sizes, light and dark."""
    text = re.sub(r"/\*.*?\*/", "", CSS.read_text(encoding="utf-8"), flags=re.S)
    before, after = text.split("@media screen and (prefers-color-scheme: dark) {", 1)
    dark = after.split("}\n}", 1)[0] + "}"
    rules = [line for line in after.split("}\n}", 1)[1].splitlines() if re.match(USED, line.strip())]
    root = re.search(r":root \{.*?\}", before, re.S)
    assert root is not None
    font = "text { font-family: system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif; }"
    return " ".join(f"{root[0]} @media (prefers-color-scheme: dark) {{ {dark} }} {' '.join(rules)} {font}".split())


def main() -> None:
    """Write the picture of the results file that is named, or of the committed one."""
    source = Path(sys.argv[1]) if sys.argv[1:] else RESULTS
    PICTURE.write_text(picture(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
