"""Uploads a finished encoder to the hub.

The files to upload are first put together in a temporary folder: links to the encoder's own files,
a bothways.json without paths of this machine, and the card with the scores. The doctor loads and
proves that folder, and a dry run lists it, so exactly these files are uploaded. Transport, large
files and resuming are huggingface_hub's.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.backbone.origin import hub_id
from bothways.encoder.folder.card import CARD
from bothways.encoder.folder.card_metadata import CardOptions
from bothways.encoder.load import load
from bothways.encoder.proof.doctor import doctor
from bothways.errors import DirectionError, InputError
from bothways.folder_files import OURS
from bothways.provenance import versions
from bothways.publishing.cards import front_matter_of, is_free, made
from bothways.publishing.contents import Contents, contents, read_ours, stale, write_ours
from bothways.publishing.export_upload import export_card, export_contents, is_export, prove_export
from bothways.publishing.hub_answers import hub_answers, status_of
from bothways.publishing.machine_paths import in_text, in_values, without_places

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from bothways.encoder.encoder import Encoder

log = logging.getLogger("bothways")


@dataclass(frozen=True)
class Upload:
    """The result of an upload, or of a dry run.

    Attributes:
        name: ORG/NAME.
        files: name and size in bytes of each uploaded file.
        left_out: files and folders that were not uploaded. A folder ends in a slash.
        removed: files of an earlier model that were removed from the repository.
        url: URL of the commit. None after a dry run.
    """

    name: str
    files: tuple[tuple[str, int], ...]
    left_out: tuple[str, ...]
    removed: tuple[str, ...] = ()
    url: str | None = None

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return sum(size for _, size in self.files)


def push(
    model: str | os.PathLike[str],
    name: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    dry_run: bool = False,
    license: str | None = None,
    language: Iterable[str] = (),
    base_model: str | None = None,
    results: Iterable[str | os.PathLike[str]] = (),
    include: Iterable[str] = (),
    device: str = "auto",
) -> Upload:
    """Upload a finished encoder to the hub, with its card, after the doctor has proved it.

    An export is uploaded too, after `verify_export` has compared it with the encoder's vectors.
    Only the files that `export` wrote are uploaded.

    Example:
        >>> bw.push("runs/mine", "me/mine", private=True)   # doctest: +SKIP

    Args:
        model: folder of a finished encoder, or of an export.
        name: name of the repository, ORG/NAME. It is created if it does not exist.
        private: if True, create a private repository. An existing one must be private too.
        revision: branch to upload to, which is created if it does not exist. If None, the main one.
        message: message of the commit. If None, a standard one.
        dry_run: if True, check everything and list the files. Nothing is sent, and no token is
            needed.
        license: see `write_card`, also for the next three.
        language: codes such as "en".
        base_model: hub id of the base.
        results: files of `bothways evaluate`.
        include: patterns of more files to upload, for example "*.png".
        device: device on which the doctor runs.

    Returns:
        The files that were uploaded, and those that were not.

    Raises:
        InputError: if it is not a finished encoder, its proof fails, a file contains a path
            of this machine, there are options for a card that somebody has changed, the repository
            is public and `private` is True, or there is no token.
        OutputError: if the hub refuses the upload, or cannot be reached.
    """
    folder = Path(model).expanduser()
    options = CardOptions(
        license=license, language=tuple(language), base_model=base_model, name=name
    )
    _check_name(name)
    exported = is_export(folder)
    found = export_contents(folder, include) if exported else contents(folder, include)
    if not dry_run:
        _check_token()
    given = list(results)
    with _laid_out(folder, found, options) as part:
        if exported:
            prove_export(folder)
            _write_text(part, export_card(folder, options, given), options)
        else:
            _write_card(_proved(part, folder, device), folder, part, options, given)
        _check_places(part, folder)
        listed = tuple(
            (path.relative_to(part).as_posix(), path.stat().st_size)
            for path in sorted(part.rglob("*"))
            if path.is_file()
        )
        upload = Upload(name, listed, tuple(found.left_out))
        if dry_run:
            return upload
        return _send(part, upload, private=private, revision=revision, message=message)


def _check_name(name: str) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(
            f"{name}: is not a name that the hub accepts ({' '.join(str(error).split())[:200]})"
        ) from None


def _check_token() -> None:
    from huggingface_hub import get_token

    if get_token() is None:
        raise InputError(
            "push: there is no token for the hub; set HF_TOKEN to one with write access, or run hf auth login"
        )


@contextmanager
def _laid_out(folder: Path, found: Contents, options: CardOptions) -> Iterator[Path]:
    """Put links to the files to upload, and bothways.json without paths, into a folder."""
    with tempfile.TemporaryDirectory(prefix="bothways-") as place:
        part = Path(place)
        for name in found.files:
            if name in (OURS, CARD):
                continue
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).symlink_to((folder / name).resolve())
        if OURS in found.files:
            ours = read_ours(folder)
            known = ours.get("base_model")
            base = known.get("id") if isinstance(known, dict) else None
            write_ours(part, without_places(ours, options.base_model or base))
        yield part


def _proved(part: Path, folder: Path, device: str) -> Encoder:
    """Load and prove the encoder in the temporary folder.

    Raises:
        InputError: if the doctor refuses it.
    """
    try:
        encoder = load(part, device=device, dtype="auto")
    except DirectionError as error:
        raise InputError(
            f"{folder}: is not what it claims to be ({error}), so it is not uploaded"
        ) from None
    except InputError as error:
        raise InputError(str(error).replace(str(part), str(folder))) from None
    failed = doctor(encoder, quick=True).failures
    if failed:
        raise InputError(
            f"{folder}: the doctor refuses it ({failed[0].name}: {failed[0].sentence}), so it is not uploaded; see bothways doctor {folder}"
        )
    return encoder


def _write_card(
    encoder: Encoder, folder: Path, part: Path, options: CardOptions, results: list[Any]
) -> None:
    """Put the card next to the other files.

    A card that somebody has changed is copied. Ours is written again, with the model's name and
    scores.
    """
    card = folder / CARD
    if is_free(card):
        _write_text(part, made(encoder, folder, options, results), options)
        return
    if options.license or options.language or options.base_model or results:
        raise InputError(
            f"{card}: somebody has changed it, so options for the card do not have an effect; change it by hand, or write it again with "
            f"bothways card {folder} --replace"
        )
    (part / CARD).write_bytes(card.read_bytes())
    bases = front_matter_of(part / CARD).get("base_model") or []
    for base in bases if isinstance(bases, list) else [bases]:
        if hub_id(str(base)) is None or Path(str(base)).expanduser().exists():
            raise InputError(
                f"{card}: base_model {str(base)!r} is not a name on the hub; write ORG/NAME, or remove the line"
            )


def _write_text(part: Path, text: str, options: CardOptions) -> None:
    """Write a card of ours, and warn if it does not state a license."""
    (part / CARD).write_text(text, encoding="utf-8")
    if "license" not in front_matter_of(part / CARD):
        log.warning(
            "%s: the card does not state a license, because the base's is not known; give it with --license",
            options.name,
        )


def _check_places(part: Path, folder: Path) -> None:
    """Refuse files that contain a path of this machine.

    Raises:
        InputError: if there is one. The error names the file and the line or field.
    """
    import json

    for path in sorted(part.rglob("*")):
        name = path.relative_to(part).as_posix()
        # a vocabulary may contain anything that occurs in texts, paths too
        if path.suffix == ".json" and path.name not in ("tokenizer.json", "vocab.json"):
            found = [
                f"{place} is {value!r}"
                for place, value in in_values(json.loads(path.read_text(encoding="utf-8")))
            ]
        elif path.suffix in (".md", "") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            found = [
                f"line {number} has {value!r}"
                for number, value in in_text(text, Path.home(), folder.resolve(), Path.cwd())
            ]
        else:
            continue
        if found:
            raise InputError(
                f"{folder / name}: contains a path of this machine ({found[0][:200]}), which would be published; remove it, or save the "
                "encoder again"
            )


def _send(
    part: Path, upload: Upload, *, private: bool, revision: str | None, message: str | None
) -> Upload:
    """Create the repository and the branch, and upload the folder in one commit."""
    from huggingface_hub import HfApi

    api, name = HfApi(library_name="bothways", library_version=versions()["bothways"]), upload.name
    with hub_answers(name):
        removed = [] if _is_new(api, name, private=private) else _removed(api, upload, revision)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=name,
            folder_path=part,
            allow_patterns=[file for file, _ in upload.files],
            delete_patterns=removed or None,
            revision=revision,
            commit_message=message or f"Upload encoder with bothways {versions()['bothways']}",
        )
    return Upload(name, upload.files, upload.left_out, tuple(removed), done.commit_url)


def _is_new(api: HfApi, name: str, *, private: bool) -> bool:
    """Create the repository. Return False if it already exists.

    Raises:
        InputError: if it exists and is public, but a private one is wanted.
    """
    try:
        api.create_repo(name, private=private or None)
        return True
    except Exception as error:
        # 409: it exists. 401 and 403: the token is for this repository and may not create others.
        if status_of(error) not in (401, 403, 409):
            raise
        try:
            known = api.repo_info(name)
        except Exception:
            raise error from None
    if private and known.private is False:
        raise InputError(
            f"{name}: exists and is public, but --private was asked for; make it private on the hub, or choose another name"
        )
    return False


def _removed(api: HfApi, upload: Upload, revision: str | None) -> list[str]:
    """Return the files of an earlier model in the repository that loaders would still read."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        names = api.list_repo_files(upload.name, revision=revision)
    except RevisionNotFoundError:
        names = api.list_repo_files(upload.name)
    files = [file for file, _ in upload.files]
    # a .gguf file or a graph may lie next to the encoder in one repository
    return stale(names, files) if "config.json" in files else []
