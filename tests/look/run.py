"""Looks at a report in headless Chromium: phone and desktop, light and dark, and printed.

    make look                                   # a report of made-up results, in build/look
    python tests/look/run.py report.html        # your own

Writes a picture for each width and scheme and the PDF of the print, and fails if the page scrolls
sideways, a text's contrast to its background is below 4.5 (WCAG 2.2, AA; 3 for large text), or the
print cuts a table or chart. Numbers on colored cells are left out here: tests/unit/report/charts/test_colors.py
measures their ink. Not part of CI, because it needs a browser and takes half a minute.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
WIDTHS = (390, 1280)
PRINT = 718  # CSS pixels of an A4 page between Chromium's margins
OUT = ROOT / "build" / "look"

PROBE = """
const frame = document.querySelector("iframe");
const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
frame.addEventListener("load", () => {
  const page = frame.contentDocument, view = frame.contentWindow, root = page.documentElement;
  for (const part of page.querySelectorAll("details")) part.open = true;
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgb(view.getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const pale = [], cut = [];
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement, style = view.getComputedStyle(node);
    if (!text.data.trim() || !node.getClientRects().length || node.closest("script,style,.unseen,.black,.white")) continue;
    const ink = rgb(node.closest("svg") ? style.fill : style.color), paper = behind(node.closest("svg") ?? node);
    if (ink.length < 3) continue;
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.7 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) pale.push(`${text.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  for (const part of page.querySelectorAll(".scroll, figure, pre"))
    if (part.scrollWidth > part.clientWidth + 1) cut.push(`${part.className || part.tagName}: ${part.scrollWidth - part.clientWidth}`);
  document.title = JSON.stringify({ wide: root.scrollWidth, inner: root.clientWidth, high: root.scrollHeight, pale, cut });
});
frame.srcdoc = JSON.parse(document.querySelector("#page").textContent);
"""


def chromium(place: Path, *words: str, dark: bool = False) -> str:
    """Run the browser and return its standard output."""
    program = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if program is None:
        sys.exit("no chromium, chromium-browser or google-chrome on this machine")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [program, *flags, scheme, f"--user-data-dir={place / 'profile'}", "--virtual-time-budget=3000", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def framed(page: str, place: Path, width: int, height: int) -> Path:
    """The page in a frame: browsers refuse windows as narrow as a phone."""
    held = json.dumps(page).replace("<", "\\u003c")
    outer = place / f"outer-{width}-{height}.html"
    outer.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><title></title><body style="margin:0"><iframe style="width:{width}px;height:{height}px;'
        f'border:0"></iframe><script type="application/json" id="page">{held}</script><script>{PROBE}</script>',
        encoding="utf-8",
    )
    return outer


def measured(page: str, place: Path, width: int, *, dark: bool) -> dict[str, Any]:
    """What the browser finds on the page at a width, with everything unfolded."""
    told = chromium(
        place, f"--window-size={max(width, 600)},1000", "--dump-dom", framed(page, place, width, 900).as_uri(), dark=dark
    )
    title = re.search(r"<title>(.*?)</title>", told, re.S)
    assert title is not None and title[1], "the browser found nothing out"
    found: dict[str, Any] = json.loads(html.unescape(title[1]))
    return found


def printed(page: str) -> str:
    """The page as its rules for print show it, on a screen."""
    return page.replace("@media print", "@media all")


def main() -> None:
    """Look at the report that is named, or at one of made-up results."""
    OUT.mkdir(parents=True, exist_ok=True)
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        page = Path(sys.argv[1]).read_text(encoding="utf-8") if sys.argv[1:] else made_up(place)
        for width in WIDTHS:
            for dark in (False, True):
                found = measured(page, place, width, dark=dark)
                name = f"{width}-{'dark' if dark else 'light'}"
                faults += [f"{name}: scrolls sideways by {found['wide'] - found['inner']}"] * (found["wide"] > found["inner"])
                faults += [f"{name}: pale text, {each}" for each in found["pale"]]
                size = f"--window-size={max(width, 500)},{min(found['high'], 9000)}"
                picture = f"--screenshot={OUT / name}.png"
                chromium(place, size, picture, framed(page, place, width, min(found["high"], 9000)).as_uri(), dark=dark)
        found = measured(printed(page), place, PRINT, dark=False)
        faults += [f"print: cut, {each}" for each in found["cut"]] + [f"print: pale text, {each}" for each in found["pale"]]
        file = place / "report.html"
        file.write_text(page, encoding="utf-8")
        # a reader who works in the dark prints on white paper too
        chromium(place, f"--print-to-pdf={OUT / 'print.pdf'}", "--no-pdf-header-footer", file.as_uri(), dark=True)
    print("\n".join(faults) or "nothing to mend", f"pictures and print.pdf are in {OUT}", sep="\n")
    sys.exit(bool(faults))


def made_up(place: Path) -> str:
    """A report of four models and a training run with everything that a report can show."""
    from bothways.report.page import build
    from unit.report.material import write_results, write_run

    return build([*write_results(place, 4, full=True), write_run(place)], resamples=200)


if __name__ == "__main__":
    main()
