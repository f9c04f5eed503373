"""The import of mteb: an error with the install line, and no progress bars of its libraries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from bothways.errors import MissingExtra


def load_mteb() -> ModuleType:
    """Import and return the module `mteb`, version 2 or later.

    Raises:
        MissingExtra: if it is not installed, or is version 1, which has another encoder protocol.
    """
    try:
        import mteb
    except ImportError:
        raise MissingExtra("mteb", "eval", "evaluation on MTEB tasks") from None
    if not hasattr(mteb, "evaluate"):
        raise MissingExtra(
            "mteb>=2", "eval", f"evaluation on MTEB tasks (mteb {mteb.__version__} is installed)"
        )
    library: ModuleType = mteb
    return library


def mteb_version() -> str:
    """Return the installed version, for example "2.26.24".

    Raises:
        MissingExtra: if mteb is not installed.
    """
    return str(load_mteb().__version__)


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Hide the progress bars that `datasets` draws for each column it rewrites."""
    from datasets.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
