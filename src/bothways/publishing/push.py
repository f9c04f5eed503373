"""Upload a finished encoder to the hub.

What goes up is laid out in a temporary folder first: links to the encoder's own files, a bothways.json without places of this machine, and
the card with the figures. That folder is loaded and proved by the doctor, and listed by a dry run, so what is proved is what goes up.
Transport, large files and resuming are huggingface_hub's.
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
from bothways.encoder.folder.write import OURS
from bothways.encoder.load import load
from bothways.encoder.proof.doctor import doctor
from bothways.errors import DirectionError, InputError
from bothways.provenance import versions
from bothways.publishing.cards import front_matter_of, is_free, made
from bothways.publishing.contents import Contents, contents, read_ours, stale, write_ours
from bothways.publishing.errors import hub_answers, status_of
from bothways.publishing.places import in_text, in_values, without_places

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

log = logging.getLogger("bothways")


@dataclass(frozen=True)
class Upload:
    """What went up, or would go up.

    Attributes:
        name: ORG/NAME.
        files: name and bytes of each file.
        left_out: what of the folder stays here; a folder ends in a slash.
        removed: files of an earlier model that were removed from the repository.
        url: of the commit; None after a dry run.
    """

    name: str
    files: tuple[tuple[str, int], ...]
    left_out: tuple[str, ...]
    removed: tuple[str, ...] = ()
    url: str | None = None

    @property
    def size(self) -> int:
        """Bytes in all."""
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

    Example:
        >>> bw.push("runs/mine", "me/mine", private=True)   # doctest: +SKIP

    Args:
        model: folder of a finished encoder.
        name: of the repository, ORG/NAME; it is made if it does not exist.
        private: make a private repository. One that exists must be private too.
        revision: branch to upload to; it is made if it does not exist. If None, the main one.
        message: of the commit.
        dry_run: check everything and list the files; nothing is sent and no token is needed.
        license: see `write_card`, as the next three.
        language: codes.
        base_model: hub id of the base.
        results: files of `bothways evaluate`.
        include: patterns of further files to upload, for example "*.png".
        device: where the doctor runs.

    Returns:
        What went up.

    Raises:
        InputError: not a finished encoder, one that the doctor refuses, a place of this machine in a file, a card that somebody has changed
            together with options for it, a public repository with `private`, or no token.
        OutputError: the hub refuses, or cannot be reached.
    """
    folder = Path(model).expanduser()
    options = CardOptions(license=license, language=tuple(language), base_model=base_model, name=name)
    _check_name(name)
    found = contents(folder, include)
    if not dry_run:
        _check_token()
    given = list(results)
    with _laid_out(folder, found, options) as part:
        encoder = _proved(part, folder, device)
        _write_card(encoder, folder, part, options, given)
        _check_places(part, folder)
        listed = tuple(
            (path.relative_to(part).as_posix(), path.stat().st_size) for path in sorted(part.rglob("*")) if path.is_file()
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
        raise InputError(f"{name}: is not a name that the hub takes ({' '.join(str(error).split())[:200]})") from None


def _check_token() -> None:
    from huggingface_hub import get_token

    if get_token() is None:
        raise InputError(
            "push: there is no token for the hub; set HF_TOKEN to one with the right to write, or run hf auth login"
        )


@contextmanager
def _laid_out(folder: Path, found: Contents, options: CardOptions) -> Iterator[Path]:
    """The files that go up, as links below a temporary folder, with a bothways.json without places."""
    with tempfile.TemporaryDirectory(prefix="bothways-") as place:
        part = Path(place)
        for name in found.files:
            if name in (OURS, CARD):
                continue
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).symlink_to((folder / name).resolve())
        ours = read_ours(folder)
        known = ours.get("base_model")
        write_ours(part, without_places(ours, options.base_model or (known.get("id") if isinstance(known, dict) else None)))
        yield part


def _proved(part: Path, folder: Path, device: str) -> Encoder:
    """The encoder that goes up, loaded from where it is laid out.

    Raises:
        InputError: the doctor refuses it.
    """
    try:
        encoder = load(part, device=device, dtype="auto")
    except DirectionError as error:
        raise InputError(f"{folder}: is not what it claims to be ({error}); it is not uploaded") from None
    except InputError as error:
        raise InputError(str(error).replace(str(part), str(folder))) from None
    failed = doctor(encoder, quick=True).failures
    if failed:
        raise InputError(
            f"{folder}: the doctor refuses it ({failed[0].name}: {failed[0].sentence}), so it is not uploaded; see bothways doctor {folder}"
        )
    return encoder


def _write_card(encoder: Encoder, folder: Path, part: Path, options: CardOptions, results: list[Any]) -> None:
    """Put the card next to the other files: somebody's own as it is, otherwise ours, with the model's name and its figures."""
    card = folder / CARD
    if is_free(card):
        text = made(encoder, folder, options, results)
        (part / CARD).write_text(text, encoding="utf-8")
        if "license" not in front_matter_of(part / CARD):
            log.warning("%s: the card states no license, because the base's is not known; give it with --license", options.name)
        return
    if options.license or options.language or options.base_model or results:
        raise InputError(
            f"{card}: somebody has changed it, so options for the card have no effect; write them into it by hand, or write it anew with "
            f"bothways card {folder} --replace"
        )
    (part / CARD).write_bytes(card.read_bytes())
    bases = front_matter_of(part / CARD).get("base_model") or []
    for base in bases if isinstance(bases, list) else [bases]:
        if hub_id(str(base)) is None or Path(str(base)).expanduser().exists():
            raise InputError(f"{card}: base_model {str(base)!r} is not a name on the hub; write ORG/NAME, or take the line out")


def _check_places(part: Path, folder: Path) -> None:
    """Refuse files that name a place on this machine.

    Raises:
        InputError: names the file and the line or field.
    """
    import json

    for path in sorted(part.rglob("*")):
        name = path.relative_to(part).as_posix()
        # a vocabulary holds whatever occurs in texts, paths too
        if path.suffix == ".json" and path.name not in ("tokenizer.json", "vocab.json"):
            found = [f"{place} is {value!r}" for place, value in in_values(json.loads(path.read_text(encoding="utf-8")))]
        elif path.suffix in (".md", "") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            found = [
                f"line {number} has {value!r}" for number, value in in_text(text, Path.home(), folder.resolve(), Path.cwd())
            ]
        else:
            continue
        if found:
            raise InputError(
                f"{folder / name}: names a place on this machine ({found[0][:200]}), which would be published; take it out, or save the "
                "encoder again"
            )


def _send(part: Path, upload: Upload, *, private: bool, revision: str | None, message: str | None) -> Upload:
    """Make the repository and the branch, and upload the folder in one commit."""
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


def _is_new(api: Any, name: str, *, private: bool) -> bool:
    """Make the repository; False if it was there.

    Raises:
        InputError: a private one is wanted, and the one that is there is public.
    """
    try:
        api.create_repo(name, private=private or None)
        return True
    except Exception as error:
        # 409: it exists. 401 and 403: a token for this repository alone may not make others
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


def _removed(api: Any, upload: Upload, revision: str | None) -> list[str]:
    """Files of an earlier model in the repository that loaders would go on reading."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        names = api.list_repo_files(upload.name, revision=revision)
    except RevisionNotFoundError:
        names = api.list_repo_files(upload.name)
    return stale(names, [file for file, _ in upload.files])
