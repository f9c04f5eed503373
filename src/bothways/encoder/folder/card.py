"""README.md of a saved encoder: its origin, its training, how to load it, and its limits.

The card ends in a line with the hash of the text above it. As long as that hash is right, the card
is bothways' own, and a later save replaces it. If someone has written or edited the card, it stays,
and the new one is put next to it as README.generated.md.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bothways.attention.older_loaders import OLDEST
from bothways.attention.text_config import is_encoder_only
from bothways.encoder.folder import head_modules, layer_pooling, pooling_module, template_module
from bothways.encoder.folder.card_loading import FOLDER, loading, needs_trust
from bothways.encoder.folder.card_metadata import CardOptions, facts, front_matter, metadata
from bothways.encoder.folder.card_training import (
    last_name,
    markdown_table,
    short,
    stages_of,
    training_section,
)
from bothways.encoder.module import EncoderModule
from bothways.printable import printable

CARD, GENERATED = "README.md", "README.generated.md"
_SEAL = "<!-- written by bothways, sha256 of the text above: {}. Change the text, and it is yours: bothways keeps it. -->\n"
_SEALED = re.compile(
    r"<!-- written by bothways, sha256 of the text above: ([0-9a-f]{64})\.[^\n]*-->\n*\Z"
)

log = logging.getLogger("bothways")


def model_card(encoder: EncoderModule, notes: list[str], options: CardOptions | None = None) -> str:
    """Write the model card in Markdown, with the metadata block that hubs read.

    Args:
        encoder: the encoder that is being saved.
        notes: sentences about differences in other loaders.
        options: license, languages, the model's name, figures. If None, the card contains only
            facts from the encoder.
    """
    chosen = options or CardOptions()
    base = facts(encoder, chosen)
    title = chosen.name or f"Text encoder from {_base_name(encoder, base)}"
    body = f"""{front_matter(metadata(encoder, chosen))}
# {title}

{_oldest(encoder)}{_summary(encoder)}

{made_from(encoder, chosen)}
{loading(encoder, chosen.name or FOLDER)}
{_limits(encoder, notes, chosen.name or FOLDER)}"""
    return sealed(body)


def complete_card(
    card: Path, encoder: EncoderModule, target: str, lines: Sequence[str] = ()
) -> None:
    """Add metadata and the encoder's origin to the README.md of an export.

    A card that already has metadata only gets the lines.

    Args:
        card: the text that the export's writer wrote about running it.
        encoder: the encoder that was exported.
        target: the export's kind, which becomes a tag, for example "gguf".
        lines: lines that follow the text, for example a section about prompts.
    """
    text = card.read_text(encoding="utf-8")
    added = "\n".join(lines)
    if text.startswith("---\n"):
        if lines:
            card.write_text(sealed(f"{unsealed(text).rstrip()}\n{added}\n"), encoding="utf-8")
        return
    fields = metadata(
        encoder,
        CardOptions(),
        library=None,
        tags=(target, "feature-extraction", "sentence-similarity", "bothways"),
    )
    body = (
        f"{front_matter(fields)}\n{text.rstrip()}\n{added}\n\n{made_from(encoder, CardOptions())}"
    )
    card.write_text(sealed(body), encoding="utf-8")


def sealed(body: str) -> str:
    """Append the line with the hash that shows whether the text was edited."""
    text = printable(body).rstrip("\n") + "\n\n"
    return text + _SEAL.format(_digest(text))


def unsealed(card: str) -> str:
    """Return a card without the line with the hash."""
    return _SEALED.sub("", card.replace("\r\n", "\n"))


def is_ours(card: str) -> bool:
    """Return whether a card is unchanged since bothways wrote it. Line ends do not count."""
    text = card.replace("\r\n", "\n")
    found = _SEALED.search(text)
    return found is not None and _digest(text[: found.start()]) == found[1]


def keep_edited(before: Path, folder: Path) -> None:
    """Copy the card of the old folder into the new one, if somebody has written or edited it.

    Args:
        before: the old folder. If it has no card, nothing happens.
        folder: the new one. Its own card is then renamed to README.generated.md.
    """
    try:
        old = (before / CARD).read_bytes()
    except OSError:
        return
    if is_ours(old.decode("utf-8", "replace")) or old == (folder / CARD).read_bytes():
        return
    (folder / CARD).replace(folder / GENERATED)
    (folder / CARD).write_bytes(old)
    log.warning(
        "%s: is not the card that bothways wrote, so it is kept; the new card is %s next to it",
        before / CARD,
        GENERATED,
    )


def made_from(encoder: EncoderModule, options: CardOptions) -> str:
    """Write the sections "Base model", "Training" and, if there are any figures, "Figures"."""
    return "\n".join(
        part
        for part in (_base(encoder, options), training_section(encoder), figures(options))
        if part
    )


def figures(options: CardOptions) -> str:
    """Write the section "Figures": the main metric of each evaluation.

    The metadata holds all metrics.
    """
    mains = {each.dataset_name: each for each in reversed(options.figures)}
    if not mains:
        return ""
    rows = []
    for each in reversed(mains.values()):
        told = each.dataset_args or {}
        rows.append(
            [
                each.dataset_name,
                each.metric_name or each.metric_type,
                f"{each.metric_value:.4f}",
                short(told.get("sha256")),
            ]
        )
    return f"## Figures\n\n{markdown_table(('data', 'metric', 'value', 'sha256 of the data'), rows)}\nMeasured with `bothways evaluate`.\n"


def _oldest(encoder: EncoderModule) -> str:
    """Say which releases of transformers read the direction correctly. Empty if all of them do."""
    if encoder.direction != "bidirectional" or is_encoder_only(encoder.backbone.config):  # type: ignore[arg-type]
        return ""
    return (
        f"**Needs transformers {OLDEST} or newer**, in sentence-transformers too. Releases 5.0 and 5.1 read it causally and give\n"
        "other vectors without an error. Version 4 refuses it.\n\n"
    )


def _summary(encoder: EncoderModule) -> str:
    count = len(encoder.provenance.get("stages", []))
    stages = ", ".join(stage["name"] for stage in stages_of(encoder))
    made = f"Trained in the stage{'s' if count > 1 else ''} {stages}" if count else "Not trained"
    return (
        f"{encoder.direction.capitalize()} attention, {encoder.pooling.mode} pooling, {encoder.dimension} dimensions, up to\n"
        f"{encoder.max_length or 'any number of'} tokens per text. {made}. Provenance: `bothways.json`."
    )


def _base(encoder: EncoderModule, options: CardOptions) -> str:
    found = facts(encoder, options)
    rows = [["name", found.get("id") or "a local model, not on the hub"]]
    rows += [["revision", found["revision"]]] if "revision" in found else []
    rows += [[f"sha256 of {name}", digest] for name, digest in (found.get("files") or {}).items()]
    license_ = found.get("license_name") or found.get("license")
    rows += (
        [["license", license_ if isinstance(license_, str) else ", ".join(license_ or ())]]
        if license_
        else []
    )
    unknown = (
        ""
        if license_
        else "\nThe license of the base model is not known here. It holds for this model as well, so look it up before you share it.\n"
    )
    return f"## Base model\n\n{markdown_table(('', ''), rows)}{unknown}"


def _base_name(encoder: EncoderModule, base: Mapping[str, Any]) -> str:
    return str(
        base.get("id") or last_name(str(encoder.provenance.get("base") or "a language model"))
    )


def _limits(encoder: EncoderModule, notes: list[str], place: str) -> str:
    how = (
        f"`{pooling_module.CODE.name}` does"
        if pooling_module.is_trained(encoder.pooling)
        else "`1_Pooling/config.json` says"
    )
    if template_module.is_last_tokens(encoder):
        how = f"`{template_module.CODE.name}` does"
    if layer_pooling.is_layered(encoder):
        how = f"`1_{layer_pooling.KIND}` and `2_Pooling/config.json` say"
    caveats = "".join(f"- {note}\n" for note in notes)
    code = (
        "- The folder contains code, which sentence-transformers runs only with `trust_remote_code=True`.\n"
        if needs_trust(encoder)
        else ""
    )
    untrained = (
        ""
        if encoder.provenance.get("stages")
        else "- It was not trained as an encoder. Expect vectors of little use.\n"
    )
    limit = (
        f"{encoder.max_length} tokens"
        if encoder.max_length
        else "as many tokens as the model has positions"
    )
    return f"""## Limits

{untrained}- A text is cut after {limit}.
- It needs transformers {OLDEST} or newer.
- `AutoModel.from_pretrained("{place}")` gives the token states. Pool them as {how}{_behind(encoder)}.
{code}{caveats}- An empty text has a vector in bothways. sentence-transformers gives the zero vector or stops with an error.
- LangChain turns line feeds of a text into blanks, which gives a text of several lines another vector. Prompts keep theirs.
- The OpenVINO and ONNX backends of sentence-transformers (`backend="openvino"`, `backend="onnx"`) feed no positions to decoders: vectors
  are wrong or NaN, without an error. Use the default backend, or `bothways export`.
"""


def _behind(encoder: EncoderModule) -> str:
    """Say what follows the pooling, for example ", then apply `2_Dense` and `3_Normalize`"."""
    kinds = [
        *head_modules.names(encoder.pooling),
        *(["Normalize"] if encoder.options.normalize else []),
    ]
    first = 3 if layer_pooling.is_layered(encoder) else 2
    applied = [f"`{number}_{kind}`" for number, kind in enumerate(kinds, first)]
    *others, last = applied or [""]
    steps = (
        [f"apply {', '.join(others)} and {last}" if others else f"apply {last}"] if applied else []
    )
    keep = getattr(encoder.pooling, "keep", None)
    steps += [] if keep is None else [f"keep the first {keep} numbers"]
    return f", then {', and '.join(steps)}" if steps else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
