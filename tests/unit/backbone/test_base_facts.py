"""Facts about a base, traced from this machine to its origin, without a download."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from bothways.backbone.base_facts import base_facts, card_facts, license_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def card(folder: Path, front: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"---\n{front}\n---\n# Model\n")
    return folder


def test_facts_of_an_earlier_save_stay() -> None:
    assert base_facts({"base": "org/other", "base_model": {"id": "org/base"}}) == {"id": "org/base"}
    assert base_facts({}) == {}


def test_a_folder_of_the_hubs_cache_names_repository_and_commit(tmp_path: Path) -> None:
    place = card(tmp_path / "models--org--base" / "snapshots" / COMMIT, "license: mit\nlanguage: [en, no]")
    found = base_facts({"base": str(place), "source": "folder"})
    assert found == {"id": "org/base", "revision": COMMIT, "license": "mit", "language": ["en", "no"]}


def test_a_folder_of_another_author_is_known_by_its_files(tmp_path: Path) -> None:
    place = card(tmp_path / "base", "license: apache-2.0")
    (place / "config.json").write_text('{"_name_or_path": "org/base"}')
    (place / "model.safetensors").write_bytes(b"weights")
    found = base_facts({"base": str(place), "source": "folder"})
    digest = hashlib.sha256(b"weights").hexdigest()
    assert found == {"id": "org/base", "license": "apache-2.0", "files": {"model.safetensors": digest}}
    (place / "config.json").write_text(json.dumps({"_name_or_path": str(tmp_path)}))
    assert "id" not in base_facts({"base": str(place), "source": "folder"}), "a path is not a name on the hub"


def test_an_encoder_leads_to_its_own_base_and_a_circle_ends(tmp_path: Path) -> None:
    for name, base in (("one", "two"), ("two", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bothways.json").write_text(json.dumps({"base": str(tmp_path / base), "source": "folder"}))
    assert base_facts({"base": str(tmp_path / "one"), "source": "folder"}) == {}
    (tmp_path / "two" / "bothways.json").write_text(json.dumps({"base_model": {"id": "org/base"}}))
    assert base_facts({"base": str(tmp_path / "one"), "source": "folder"}) == {"id": "org/base"}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"license": "mit", "other": 1}, {"license": "mit"}),
        ({"license": ["mit"]}, {"license": "mit"}),
        ({"license": ["mit", "bsd"]}, {"license": ["mit", "bsd"]}),
        ({"license": "other", "license_name": "x", "license_link": "LICENSE"}, {"license": "other", "license_name": "x"}),
        ({"license": "other", "license_link": "https://x.org"}, {"license": "other", "license_link": "https://x.org"}),
        ({"license_name": "x"}, {}),
        ({"license": "  "}, {}),
        ({"license": 3}, {}),
    ],
)
def test_licenses(stated: dict[str, Any], expected: dict[str, Any]) -> None:
    assert license_of(stated) == expected


def test_cards_that_cannot_be_read_say_nothing(tmp_path: Path) -> None:
    assert card_facts(tmp_path / "README.md") == {}
    assert card_facts(card(tmp_path, "license: [") / "README.md") == {}
    # YAML 1.1 reads the code of Norwegian as false
    assert card_facts(card(tmp_path, "language: no") / "README.md") == {"language": ["no"]}
