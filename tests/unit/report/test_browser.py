"""The page in headless Chromium: nothing sticks out on a phone, labels stay inside their charts,
sorting sorts, nothing hostile runs.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bothways.report.page import build
from unit.report.material import write_results, write_run

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on this machine")

# The report stands unchanged, its policy included, in a frame as wide as a phone; browsers refuse
# windows that narrow. The page around it looks inside and writes what it finds into its own title,
# which --dump-dom then shows.
PROBE = """
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const page = frame.contentDocument, view = frame.contentWindow, sticking = [];
  for (const svg of page.querySelectorAll("svg.chart")) {
    const around = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBoundingClientRect();
      const over = Math.max(around.left - box.left, box.right - around.right, around.top - box.top, box.bottom - around.bottom);
      if (box.width && over > 10) sticking.push(`${text.textContent}: ${over.toFixed(1)}`);
    }
  }
  const table = page.querySelector("table.scores");
  const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith("average"));
  const values = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.value));
  const button = table.tHead.rows[0].cells[column].querySelector("button");
  button.click(); const down = values();
  button.click(); const up = values();
  const root = page.documentElement;
  const sizes = [...page.querySelectorAll("svg.chart text")].filter((text) => text.getBoundingClientRect().width)
    .map((text) => parseFloat(view.getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a);
  document.title = JSON.stringify({
    hacked: view.hacked ?? 0, wide: root.scrollWidth, inner: root.clientWidth, sticking, down, up, smallest: Math.min(...sizes),
    dark: view.getComputedStyle(page.body).color,
  });
});
frame.srcdoc = JSON.parse(document.querySelector("#page").textContent);
"""


def look(page: str, folder: Path, width: int, *, dark: bool) -> dict[str, Any]:
    assert BROWSER is not None
    held = json.dumps(page).replace("<", "\\u003c")
    outer = folder / "outer.html"
    outer.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><title></title><iframe style="width:{width}px;height:900px;border:0"></iframe>'
        f'<script type="application/json" id="page">{held}</script><script>{PROBE}</script>',
        encoding="utf-8",
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}"]
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [
        BROWSER,
        *flags,
        scheme,
        f"--window-size={width + 40},1000",
        "--virtual-time-budget=2000",
        "--dump-dom",
        outer.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert title is not None, done.stderr[-2000:]
    assert title[1], f"nothing was found out: {done.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(html.unescape(title[1]))
    return found


@pytest.mark.parametrize(("models", "width", "dark"), [(1, 360, True), (10, 360, False), (10, 1280, True)])
def test_layout_and_sorting(tmp_path: Path, models: int, width: int, dark: bool) -> None:
    sources = [*write_results(tmp_path, models, full=True), write_run(tmp_path)]
    found = look(build(sources, resamples=50), tmp_path, width, dark=dark)
    assert found["hacked"] == 0
    assert found["wide"] <= found["inner"], "the page scrolls sideways"
    assert found["sticking"] == [], "labels that leave their chart"
    assert found["smallest"] >= 9, "CSS pixels; below that a phone's reader has to zoom"
    # the page's own script made the buttons, so the policy's hash is right
    assert found["down"] == sorted(found["down"], reverse=True)
    assert found["up"] == sorted(found["up"])
    assert len(found["up"]) == models
    red = int(re.findall(r"\d+", found["dark"])[0])
    assert (red > 128) == dark, "light ink on dark paper, or the other way round"
