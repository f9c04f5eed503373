"""Pages of the site that live elsewhere in the repository: contributing, changelog, findings.

mkdocs runs this file (plugin gen-files). `links.py` rewrites their links.
"""

from __future__ import annotations

from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "findings/README.md": "findings.md",
}

for source, page in PAGES.items():
    with mkdocs_gen_files.open(page, "w") as out:
        out.write((ROOT / source).read_text(encoding="utf-8"))
    mkdocs_gen_files.set_edit_path(page, source)
