"""Old import paths still lead to the modules, and each new name of the table is a module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings

import pytest

from bothways.moved import MOVED, RENAMED


def test_an_old_name_is_the_module_itself() -> None:
    sys.modules.pop("bothways.data.supervised", None)
    with pytest.warns(DeprecationWarning, match=r"bothways\.data\.supervised is bothways\.data\.labeled\.labeled_reader now"):
        old = importlib.import_module("bothways.data.supervised")
    new = importlib.import_module("bothways.data.labeled.labeled_reader")
    assert old is new
    assert new.__name__ == new.__spec__.name == "bothways.data.labeled.labeled_reader"


def test_old_packages_and_their_modules() -> None:
    """A package under its old name must not load its files a second time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = importlib.import_module("bothways.data.mining")
        options = importlib.import_module("bothways.data.mining.options")
    from bothways.mining import MiningOptions, mine

    assert package.mine is mine
    assert options.MiningOptions is MiningOptions


def test_a_module_that_became_a_package_has_its_names() -> None:
    from bothways.exports.gguf import gguf_file

    package = importlib.import_module("bothways.exports.gguf")
    with pytest.warns(DeprecationWarning, match=r"gguf\.write_gguf is bothways\.exports\.gguf\.gguf_file\.write_gguf now"):
        assert package.write_gguf is gguf_file.write_gguf
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018 - the access is what raises


@pytest.mark.parametrize("old", sorted(MOVED))
def test_no_name_leads_nowhere_or_hides_a_module(old: str) -> None:
    new = importlib.util.find_spec(MOVED[old])
    assert new is not None
    assert new.origin is not None
    assert MOVED[old] not in MOVED


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_an_old_name_in_a_module_is_the_new_one(old: str) -> None:
    home, _, name = old.rpartition(".")
    new_home, _, new_name = RENAMED[old].rpartition(".")
    module = importlib.import_module(f"bothways.{home}")
    with pytest.warns(DeprecationWarning, match=rf"{name} is bothways\.{new_home}\.{new_name} now"):
        found = getattr(module, name)
    assert found is getattr(importlib.import_module(f"bothways.{new_home}"), new_name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        module.nonsense  # noqa: B018 - the access is what raises
