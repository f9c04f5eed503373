"""Writes an encoder for the package llm2vec 0.2.3.

The folder is a base model with all adapters merged, and its settings:

    config.json, model.safetensors    as transformers 4.44 reads them, which the package needs
    tokenizer.json, …                 merges as tokenizers 0.19 reads them
    llm2vec_config.json               pooling, lengths, and whether an instruction is pooled

Of a text with an instruction the package pools the last n tokens, where n is the number of tokens
of the text alone. A tokenizer that merges the blank between both with the text gives another number
in context, so the vectors differ a little (cosine 0.9996 for SmolLM2). The README gives the cosine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bothways.attention.direction import ORIGINAL
from bothways.attention.older_loaders import GUARD
from bothways.backbone.tokenizer.preparation import specials
from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder import head_modules
from bothways.encoder.folder.adapter_settings import MODES
from bothways.errors import InputError, UnsupportedFamily
from bothways.exports.as_llama import FORMS, as_llama
from bothways.exports.folders.st_folder import TYPES, check_target, model_positions
from bothways.exports.manifest import BARS, write_manifest
from bothways.exports.reference import SAMPLE, ReferenceRow, cosine, own_rows
from bothways.folder_files import LLM2VEC

FAMILIES = ("llama", "mistral", "gemma")
"""Families with bidirectional classes in the package.

Its Qwen2BiModel is not bidirectional, because it gets the causal mask of transformers 4.44. This
was
measured: the first token's state does not change with the last token.
"""
WRITTEN_AS_LLAMA = tuple(kind for kind in FORMS if kind not in FAMILIES)
PACKAGE = "llm2vec 0.2.3"


def write_folder(encoder: Encoder, folder: Path, name: str, dtype: str) -> None:
    """Write the base with all adapters merged, and its settings, into an empty folder.

    Raises:
        InputError: if the encoder is causal, or llm2vec does not have a part of it.
        UnsupportedFamily: if llm2vec does not have the family.
    """

    def merged(target: Path, skip: bool, tokens: int) -> None:
        kind = str(encoder.backbone.config.get_text_config().model_type)  # type: ignore[operator,union-attr]
        base = as_llama(encoder) if kind in WRITTEN_AS_LLAMA else encoder
        write_base(base, target, TYPES[dtype])
        write_settings(encoder, target, skip, tokens)

    write_with(encoder, folder, name, dtype, merged, [])


def write_with(
    encoder: Encoder,
    folder: Path,
    name: str,
    dtype: str,
    write: Callable[[Path, bool, int], None],
    adapters: list[str],
) -> None:
    """Check an encoder, write its model by a function, then the README and the manifest.

    Args:
        encoder: encoder to export.
        folder: an empty folder.
        name: the model's name in the README.
        dtype: "f32" or "f16".
        write: function that writes the weights. It gets the folder, whether an instruction is left
            out of the pooling, and the number of tokens of the longest text.
        adapters: names of the folders with adapters, in their order. Empty if they are merged.

    Raises:
        InputError, UnsupportedFamily: as `write_folder` does.
    """
    check_target(encoder, dtype, "llm2vec")
    kind = str(encoder.backbone.config.get_text_config().model_type)  # type: ignore[operator,union-attr]
    if kind not in (*FAMILIES, *WRITTEN_AS_LLAMA):
        known = ", ".join((*FAMILIES, *WRITTEN_AS_LLAMA))
        raise UnsupportedFamily(
            f"{name}: {kind} is refused for llm2vec; {PACKAGE} runs {known} in both directions"
        )
    skip = skips_instruction(encoder)
    tokens = encoder.max_length or model_positions(encoder)
    reference = _rows(encoder, skip)
    write(folder, skip, tokens)
    (folder / "README.md").write_text(
        readme(name, dtype, skip, tokens, reference, encoder, adapters), encoding="utf-8"
    )
    write_manifest(
        folder,
        "llm2vec",
        dtype,
        reference,
        loaders=["llm2vec"],
        trust_remote_code=False,
        adapters=adapters,
    )


def skips_instruction(encoder: Encoder) -> bool:
    """Return llm2vec's `skip_instruction`: True to pool only the text, False to pool all tokens.

    Raises:
        InputError: if the encoder pools other tokens, or has a part that llm2vec does not have.
    """
    title, mode, options = f"export to {PACKAGE}", str(encoder.pooling.mode), encoder.options
    if mode not in MODES:
        raise InputError(f"{title}: it does not have {mode} pooling; it has {', '.join(MODES)}")
    head_modules.refuse(encoder.pooling, title)
    if getattr(encoder.pooling, "keep", None):
        raise InputError(
            f"{title}: the encoder cuts its vectors (truncate_dim), and llm2vec does not"
        )
    if options.wrapper.prefix or options.wrapper.suffix:
        raise InputError(
            f"{title}: the encoder puts a wrapper around every text, but llm2vec chooses its own by the base's name"
        )
    if encoder.provenance.get("report", {}).get("kept_windows"):
        raise InputError(
            f"{title}: the encoder keeps sliding windows, which llm2vec does not have; convert with windows=lift"
        )
    if encoder.tokenizer.eos_token is None:
        raise InputError(
            f"{title}: the tokenizer does not have an EOS token, which llm2vec uses as padding"
        )
    around = specials(encoder.tokenizer)
    if mode == "bos" and not around.bos_added:
        raise InputError(
            f"{title}: the encoder pools BOS, but this tokenizer does not put one before a text"
        )
    if mode in ("last", "bos"):
        return False
    if around.suffix_ids or (around.prefix_ids and not around.bos_added):
        if options.prompts and not options.pool_prompt:
            raise InputError(
                f"{title}: if there are tokens around the text, it cannot leave a prompt out of its pooling, as the encoder does"
            )
        return False
    pools_bos = around.bos_added and options.pool_bos
    if pools_bos and options.prompts and not options.pool_prompt:
        raise InputError(
            f"{title}: it pools BOS and the prompt, or neither; the encoder pools only BOS (pool_bos, pool_prompt)"
        )
    if around.bos_added and not options.pool_bos and options.pool_prompt and options.prompts:
        raise InputError(
            f"{title}: it pools BOS and the prompt, or neither; the encoder pools only the prompt"
        )
    return not pools_bos and not (options.pool_prompt and options.prompts)


def write_base(encoder: Encoder, folder: Path, dtype: str) -> None:
    """Write model and tokenizer as transformers 4.44 and tokenizers 0.19 read them.

    Raises:
        InputError: if tokenizers 0.19 cannot read the tokenizer.
    """
    encoder.save(folder, dtype=dtype)
    kept = (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "model.safetensors.index.json",
    )
    for place in list(folder.iterdir()):
        if place.is_dir():
            shutil.rmtree(place)
        elif place.name not in kept and place.suffix != ".safetensors":
            place.unlink()
    values = _read(folder / "config.json")
    for key in (
        GUARD,
        ORIGINAL,
        "rope_parameters",
        "layer_types",
        "is_causal",
        "use_bidirectional_attention",
    ):
        values.pop(key, None)
    values |= {"torch_dtype": values.pop("dtype"), "_name_or_path": ""}
    width = values.get("head_dim")
    if values["model_type"] == "llama" and width not in (
        None,
        values["hidden_size"] // values["num_attention_heads"],
    ):
        raise InputError(
            f"export to {PACKAGE}: its heads have {width} numbers, but transformers 4.44 divides hidden_size by the number of heads"
        )
    if values["model_type"] == "gemma":
        values["hidden_activation"] = values["hidden_act"]  # 4.44 reads this one
    _write(folder / "config.json", values)
    written = _read(folder / "tokenizer.json")
    merges = written["model"].get("merges") or []
    if any(" " in part for pair in merges if not isinstance(pair, str) for part in pair):
        raise InputError(
            f"export to {PACKAGE}: the tokenizer merges blanks, which tokenizers 0.19 cannot read"
        )
    if merges:
        written["model"]["merges"] = [
            pair if isinstance(pair, str) else " ".join(pair) for pair in merges
        ]
    _write(folder / "tokenizer.json", written)
    settings = _read(folder / "tokenizer_config.json")
    _write(
        folder / "tokenizer_config.json", {**settings, "tokenizer_class": "PreTrainedTokenizerFast"}
    )


def write_settings(encoder: Encoder, folder: Path, skip: bool, tokens: int) -> None:
    """Write llm2vec_config.json.

    Both lengths are the same, so that the package cuts a text at `max_length` and drops no words.
    """
    _write(
        folder / LLM2VEC,
        {
            "pooling_mode": MODES[str(encoder.pooling.mode)],
            "max_length": tokens,
            "doc_max_length": tokens,
            "skip_instruction": skip,
        },
    )


def _rows(encoder: Encoder, skip: bool) -> list[ReferenceRow]:
    """Encode texts as this encoder does, and one with each prompt as llm2vec does."""
    found = [row for row in own_rows(encoder) if not row.prompt]
    for name, prompt in encoder.options.prompts.items():
        if prompt.strip() and prompt == f"{prompt.strip()} ":
            own = np.asarray(encoder.encode(SAMPLE, prompt_name=name), dtype=np.float64)
            theirs = as_llm2vec(encoder, prompt, skip)
            found.append(
                ReferenceRow(
                    f"prompt {name}", SAMPLE, theirs.tolist(), cosine(theirs, own), prompt.strip()
                )
            )
    return found


def as_llm2vec(encoder: Encoder, prompt: str, skip: bool) -> np.ndarray[Any, Any]:
    """Return the vector that llm2vec gives for the sample after a prompt.

    Args:
        encoder: the encoder.
        prompt: instruction and one blank, or "".
        skip: llm2vec's `skip_instruction`.
    """
    ids = list(encoder.tokenizer(prompt + SAMPLE)["input_ids"])
    last = (
        len(encoder.tokenizer(SAMPLE, add_special_tokens=False)["input_ids"]) if skip else len(ids)
    )
    pool = [place >= len(ids) - last for place in range(len(ids))]
    with torch.no_grad():
        vectors = encoder(
            encoder.pack([TokenRow(ids, pool, [(0, 0)] * len(ids))]).to(encoder.device)
        )
    return np.asarray(vectors[0].float().cpu(), dtype=np.float64)


def loading(dtype: str, adapters: list[str]) -> list[str]:
    """Return the lines of Python that load the folder."""
    kind = TYPES[dtype]
    if not adapters:
        return [f'model = LLM2Vec.from_pretrained("this folder", torch_dtype=torch.{kind})']
    first, second = ("base", adapters[0]) if len(adapters) == 1 else adapters[:2]
    return [
        "# inside this folder",
        f'model = LLM2Vec.from_pretrained("{first}", peft_model_name_or_path="{second}", merge_peft=True, torch_dtype=torch.{kind})',
        *(
            f'model.model = PeftModel.from_pretrained(model.model, "{name}").merge_and_unload()'
            for name in adapters[2:]
        ),
    ]


def readme(
    name: str,
    dtype: str,
    skip: bool,
    tokens: int,
    reference: list[ReferenceRow],
    encoder: Encoder,
    adapters: list[str],
) -> str:
    """Return the text of the README."""
    held = (
        f"The base is in base/, the adapters of the stages are in {', '.join(adapters)}. Their adapter_config.json names the base as\n"
        "`base`; write its name on the hub there if you publish them without base/."
        if adapters
        else "Adapters are merged into the weights."
    )
    lines = [
        f"# {name}, for {PACKAGE}",
        "",
        "**For the package llm2vec, which needs transformers 4.44.** Plain transformers reads this folder causally.",
        "",
        "```",
        "pip install llm2vec==0.2.3 transformers==4.44.2 peft==0.12.0",
        "```",
        "",
        "```python",
        "import torch",
        "from llm2vec import LLM2Vec",
        *(["from peft import PeftModel"] if len(adapters) > 2 else []),
        "",
        *loading(dtype, adapters),
        'model.encode(["a text"])',
        'model.encode([["an instruction", "a text"]])',
        "```",
        "",
        f"{held} A text is cut after {tokens} tokens. Vectors are not normalized.",
        f"An instruction is {'not ' if skip else ''}pooled.",
        "",
        f"Check it: `bothways verify-export . --with PYTHON`, with the Python of that environment. The bar is {BARS[dtype]}.",
    ]
    if encoder.options.prompts:
        lines += [
            "",
            "## Prompts",
            "",
            "The package joins instruction and text by one blank, and pools the last n tokens, where n is the number of tokens of the text",
            "alone. The cosine compares this with the vector of bothways for one short query.",
            "",
            "| prompt | instruction | cosine |",
            "|---|---|---|",
        ]
        costs = {row.case: row.cost for row in reference}
        for each, prompt in encoder.options.prompts.items():
            shown = prompt.replace("\n", "\\n").replace("|", "\\|")
            cost = costs.get(f"prompt {each}")
            shown_cost = (
                "not possible: it does not end with one blank" if cost is None else f"{cost:.4f}"
            )
            lines.append(
                f"| {each} | `{shown.strip() if cost is not None else shown}` | {shown_cost} |"
            )
    return "\n".join(lines) + "\n"


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _write(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
