"""Prompts around a text, and the mean of a row's last states, for sentence-transformers.

A stock prompt comes before the text. LLaRA (arXiv 2312.15503) closes every text with a question and
reads the vector at the last eight tokens. Queries and documents have different questions. So a
prompt that contains `{text}` is a template here. The text replaces `{text}`, for example in "{text}
Summary:{eos}". The rest is tokenized by itself, closes the row and survives truncation. `{eos}` is
the tokenizer's EOS. `encode_query` and `encode_document` choose the template like any other prompt.

`encoder.folder.write` copies this file into the folder of a saved encoder. Plain
sentence-transformers (6 or later) runs it there with trust_remote_code=True on a machine without
bothways. So it imports nothing of bothways. It produces the same tokens as
`encoder.texts.tokenization`, which a test checks.

Letters: B rows of L tokens, H width of the states.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.models import Transformer
from torch import Tensor, nn

SLOT, EOS = "{text}", "{eos}"
FIRST = ("bos_token_id", "cls_token_id")

if not hasattr(Transformer, "preprocess"):
    raise ImportError(
        "this model's prompts contain {text}, which needs sentence-transformers 6 or later; upgrade it"
    )


class TemplateTransformer(Transformer):
    """The stock Transformer module, extended by templates: prompts that contain `{text}`."""

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: object
    ) -> dict[str, Any]:
        """Make features of texts. Prompts that are not templates are handled by the stock module.

        Raises:
            ValueError: the inputs of a template are not texts, or it leaves no room for a text.
        """
        if prompt is None or SLOT not in prompt:
            stock: dict[str, Any] = super().preprocess(inputs, prompt=prompt, **kwargs)
            return stock
        if not all(isinstance(text, str) for text in inputs):
            raise ValueError("a prompt with {text} goes around plain texts only")
        before, closing = self._frame(prompt)
        rows = [
            self._row(ids, special, closing)
            for ids, special in self._tokens([before + text for text in inputs])
        ]
        features = dict(self.tokenizer.pad({"input_ids": rows}, padding=True, return_tensors="pt"))
        features["modality"] = "text"
        if before:
            # like the stock module: leave out as many tokens as the part before the text has alone
            ids, special = next(self._tokens([before]))
            features["prompt_length"] = self._end(ids, special)
        return features

    def _frame(self, prompt: str) -> tuple[str, list[int]]:
        before, after = prompt.split(SLOT, 1)
        before, after = (
            part.replace(EOS, self.tokenizer.eos_token or "") for part in (before, after)
        )
        return before, self.tokenizer(after, add_special_tokens=False)["input_ids"] if after else []

    def _tokens(self, texts: list[str]) -> Iterator[tuple[list[int], list[int]]]:
        """Tokenize whole texts to (ids, whether the tokenizer added them as special tokens)."""
        made = self.tokenizer(
            texts, truncation=False, padding=False, return_special_tokens_mask=True, verbose=False
        )
        return zip(made["input_ids"], made["special_tokens_mask"])

    def _row(self, ids: list[int], special: list[int], closing: list[int]) -> list[int]:
        end = self._end(ids, special) if closing else len(ids)
        limit = self.max_seq_length
        if limit is not None and end + len(closing) > limit:
            if not closing:  # the tokens behind the text are the tokenizer's own closing
                text = self._end(ids, special)
                return ids[: text - (end - limit)] + ids[text:]
            end = limit - len(closing)
            if end < 1:
                raise ValueError(
                    f"max_seq_length {limit} leaves no room for the text next to a prompt of {len(closing)} tokens"
                )
        return ids[:end] + closing

    def save(self, output_path: str, *args: object, **kwargs: object) -> None:
        """Write model, tokenizer and this file to one folder, as modules.json expects."""
        super().save(output_path, *args, **kwargs)
        shutil.copyfile(__file__, Path(output_path) / Path(__file__).name)

    def _end(self, ids: list[int], special: list[int]) -> int:
        """Find the end of the tokens before special tokens that the tokenizer put last."""
        opening = int(bool(ids) and ids[0] in (getattr(self.tokenizer, name) for name in FIRST))
        end = len(ids)
        while end > opening and special[end - 1]:
            end -= 1
        return end


class LastTokens(nn.Module):
    """Pooling: the mean of the last few states of each row, or of all if the row is shorter.

    Args:
        width: H.
        tokens: number of states.
        include_prompt: count the tokens of a prompt that comes before a short text. If False, they
            are left out.
    """

    def __init__(self, width: int, tokens: int = 8, include_prompt: bool = False) -> None:
        super().__init__()
        self.width, self.tokens, self.include_prompt = width, tokens, include_prompt

    def forward(self, features: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Add "sentence_embedding" (B, H) to the features.

        Rows may be padded on either side, or not at all ("cu_seq_lens_q").
        """
        states = features["token_embeddings"]
        if "cu_seq_lens_q" in features:
            bounds = features["cu_seq_lens_q"].tolist()
            rows = [states.flatten(0, -2)[a:b] for a, b in itertools.pairwise(bounds)]
        else:
            mask = features["attention_mask"].bool()
            rows = [row[own] for row, own in zip(states, mask)]
        prompt = features.get("prompt_length", 0)
        prompt = (
            0
            if self.include_prompt
            else int(prompt.flatten()[0])
            if isinstance(prompt, Tensor)
            else int(prompt or 0)
        )
        wide = torch.promote_types(states.dtype, torch.float32)
        pooled = [
            row[max(min(prompt, len(row) - 1), len(row) - self.tokens) :].to(wide).mean(0)
            for row in rows
        ]
        features["sentence_embedding"] = torch.stack(pooled)
        return features

    def get_embedding_dimension(self) -> int:
        """Return H."""
        return self.width

    # the name before sentence-transformers 6
    get_sentence_embedding_dimension = get_embedding_dimension

    def save(self, output_path: str, *args: object, **kwargs: object) -> None:
        """Write settings to the module's folder, and this file to its parent for modules.json."""
        folder = Path(output_path)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"width": self.width, "tokens": self.tokens, "include_prompt": self.include_prompt}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        shutil.copyfile(__file__, folder.parent / Path(__file__).name)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> LastTokens:
        """Read a saved module from a local folder or the hub.

        Raises:
            OSError: the settings are missing.
        """
        path: str | None = os.path.join(model_name_or_path, subfolder, "config.json")
        if not os.path.isdir(model_name_or_path):
            from sentence_transformers.util import load_file_path

            keys = ("token", "cache_folder", "revision", "local_files_only")
            given = {key: kwargs[key] for key in keys if key in kwargs}
            path = load_file_path(
                model_name_or_path, os.path.join(subfolder, "config.json"), **given
            )
        if path is None or not os.path.isfile(path):
            raise FileNotFoundError(
                f"{model_name_or_path}: {os.path.join(subfolder, 'config.json')} is missing"
            )
        with open(path, encoding="utf-8") as file:
            return cls(**json.load(file))
