"""Attention over token states before the mean: the layers, and a module for sentence-transformers.

Latent attention is NV-Embed's (arXiv 2405.17428 §3.1). Every token queries a trained dictionary of
latents, and the result is added to the token before the mean. Self-attention is the paper's
comparison: one more layer in which the tokens of a text query each other. Form "code" is the
structure of NVIDIA's published weights (norms, projections, scaled softmax, residuals, gated MLP).
Form "paper" is the formula of the text (O = softmax(H Zᵀ) Z, then an MLP).

`encoder.folder.write` copies this file into the folder of a saved encoder. Plain
sentence-transformers runs it there (trust_remote_code=True) on a machine without bothways. So it
imports torch and nothing of bothways, and `bothways.pooling` trains the same layers.

Letters: T tokens, N texts, B padded rows of L tokens, H width of the states, R latents, G heads, W
width of a head.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LATENTS = 512  # num_latents_value of nvidia/NV-Embed-v1
HEADS = 8  # num_cross_heads, each as wide as the states (cross_dim_head 4096 = hidden size)
EXPANSION = 4  # of the MLP's inner layer
MERGED = 2  # last tokens of a prompt that a following text may change
CHUNK = 2048  # tokens whose queries, scores (T, G, R) and inner MLP states (T, 8 H) exist together

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class FeedForward(nn.Module):
    """An MLP on (T, H): gated a · GELU(b) as in NVIDIA's code, or plain GELU as in the paper."""

    __call__: Callable[..., Tensor]

    def __init__(self, width: int, *, gated: bool) -> None:
        super().__init__()
        inner = EXPANSION * width
        self.gated = gated
        self.expand = nn.Linear(width, 2 * inner if gated else inner)
        self.contract = nn.Linear(inner, width)

    def forward(self, states: Tensor) -> Tensor:
        """(T, H) → (T, H)."""
        inner = self.expand(states)
        if self.gated:
            inner, gate = inner.chunk(2, dim=-1)
            inner = inner * F.gelu(gate)
        else:
            inner = F.gelu(inner)
        contracted: Tensor = self.contract(inner)
        return contracted


class LatentLayer(nn.Module):
    """Tokens that attend to a trained dictionary.

    No token sees another, so padding and other texts cannot matter.

    Args:
        width: H.
        latents: R, drawn from N(0, 1).
        heads: G.
        head_width: W. If None, H in form "code" (as published) and H / G in form "paper", which has
            no projections.
        form: "code" or "paper".

    Raises:
        ValueError: form "paper" with a number of heads that does not divide the width, or an
            unknown form.
    """

    def __init__(
        self,
        width: int,
        *,
        latents: int = LATENTS,
        heads: int = HEADS,
        head_width: int | None = None,
        form: str = "code",
    ) -> None:
        super().__init__()
        if form not in ("code", "paper"):
            raise ValueError(f"form: must be 'code' or 'paper' (got {form!r})")
        self.heads, self.form = heads, form
        self.head_width = head_width or (width if form == "code" else width // heads)
        self.latents = nn.Parameter(torch.randn(latents, width))
        if form == "paper":
            if heads * self.head_width != width:
                raise ValueError(
                    f"form 'paper' divides the width {width} among its heads, but {heads} x {self.head_width} is another width"
                )
            self.feed_forward = FeedForward(width, gated=False)
            return
        inner = heads * self.head_width
        self.norm, self.context_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.output = nn.Linear(inner, width, bias=False)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, gated=True)

    def forward(self, states: Tensor) -> Tensor:
        """(T, H) → (T, H), `CHUNK` tokens at a time.

        With gradient, several chunks are computed again in the backward pass.
        """
        return _in_chunks(self.read, states, *self.dictionary())

    def dictionary(self) -> tuple[Tensor, Tensor]:
        """Compute keys and values of the latents, (G, R, W) each."""
        if self.form == "code":
            key, value = self.key_value(self.context_norm(self.latents)).chunk(2, dim=-1)
        else:
            key = value = self.latents
        return _heads(key, self.heads), _heads(value, self.heads)

    def read(self, states: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(T, H) → (T, H), all tokens together. An exporter can trace this, but not `forward`."""
        if self.form == "paper":
            read = F.scaled_dot_product_attention(_heads(states, self.heads), key, value, scale=1.0)
            return self.feed_forward(_flat(read))
        read = F.scaled_dot_product_attention(
            _heads(self.query(self.norm(states)), self.heads), key, value
        )
        states = states + self.output(_flat(read))
        return states + self.feed_forward(self.feed_forward_norm(states))


class SelfLayer(nn.Module):
    """Tokens that attend to the other tokens of their text, in place of the latents.

    The paper gives no sizes. Heads are those of `LatentLayer`, so that the comparison is about keys
    and not about the number of parameters.

    Args:
        width: H.
        heads: G.
        head_width: W. If None, H.
    """

    def __init__(self, width: int, *, heads: int = HEADS, head_width: int | None = None) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width or width
        inner = heads * self.head_width
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.output = nn.Linear(inner, width, bias=False)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, gated=True)

    def forward(self, states: Tensor, attend: Attend) -> Tensor:
        """(T, H) → (T, H).

        Args:
            states: texts one after the other.
            attend: function from query, key and value (T, G, W) to (T, G, W), within each text.
        """
        normed = self.norm(states)
        key, value = self.key_value(normed).chunk(2, dim=-1)
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)) for each in (self.query(normed), key, value)
        )
        states = states + self.output(attend(query, key, value).flatten(1))
        return _in_chunks(
            lambda part: part + self.feed_forward(self.feed_forward_norm(part)), states
        )


def _heads(states: Tensor, heads: int) -> Tensor:
    """(T, G · W) → (1, G, T, W)."""
    return states.view(states.shape[0], heads, states.shape[1] // heads).transpose(0, 1)[None]


def _flat(states: Tensor) -> Tensor:
    """(1, G, T, W) → (T, G · W)."""
    return states[0].transpose(0, 1).flatten(1)


def _in_chunks(layer: Callable[..., Tensor], states: Tensor, *shared: Tensor) -> Tensor:
    if len(states) <= CHUNK:
        return layer(states, *shared)
    parts = states.split(CHUNK)
    if not torch.is_grad_enabled():
        return torch.cat([layer(part, *shared) for part in parts])
    # there is no dropout inside, so no generator to preserve
    again = partial(checkpoint, layer, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(part, *shared) for part in parts])


def mean(states: Tensor, segments: Tensor, rows: int) -> Tensor:
    """Compute the mean (N, H) of the states (T, H) of each text. Texts without states get zeros."""
    sums = states.new_zeros(rows, states.shape[1]).index_add(0, segments, states)
    return sums / torch.bincount(segments, minlength=rows).clamp(min=1)[:, None]


class AttentionPooling(nn.Module):
    """The pooling as a module of a sentence-transformers pipeline, after the Transformer.

    Args:
        width: H.
        mode: "latent_attention" or "self_attention".
        latents, heads, head_width, form: see the layers.
        include_prompt: pool the tokens of prompts too. If False, the text sees them, but they are
            not pooled.
        bos: token that is not pooled if it opens a text. If None, every first token is pooled.
        prompts: tokens of the stored prompts, each by itself. If a prompt ends in a blank, its last
            token merges with the text ("Query: " and " text"). sentence-transformers counts the
            prompt's own tokens, so it would leave out the text's first word.

    Raises:
        ValueError: the mode is unknown.
    """

    FOLDER_FILES = ("config.json", "model.safetensors")

    def __init__(
        self,
        width: int,
        mode: str = "latent_attention",
        latents: int = LATENTS,
        heads: int = HEADS,
        head_width: int | None = None,
        form: str = "code",
        include_prompt: bool = False,
        bos: int | None = None,
        prompts: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        if mode not in ("latent_attention", "self_attention"):
            raise ValueError(f"mode: must be 'latent_attention' or 'self_attention' (got {mode!r})")
        self.width, self.mode, self.include_prompt = width, mode, include_prompt
        sizes = {"latents": latents, "heads": heads, "head_width": head_width, "form": form}
        self.bos, self.prompts = bos, [list(ids) for ids in prompts]
        self.config = {"width": width, "mode": mode, **sizes, "bos": bos, "prompts": self.prompts}
        self.layer = (
            LatentLayer(width, latents=latents, heads=heads, head_width=head_width, form=form)
            if mode == "latent_attention"
            else SelfLayer(width, heads=heads, head_width=head_width)
        )

    def forward(self, features: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Add "sentence_embedding" (B, H) to the features.

        They have "token_embeddings" (B, L, H), "attention_mask" and maybe "prompt_length". Padding
        may be on either side. The Transformer may also leave rows unpadded ("cu_seq_lens_q").
        """
        states, segments, places, rows = _packed(features)
        states = states.to(next(self.parameters()).dtype)
        pooled = places >= self._starts(features, segments, places, rows)[segments]
        if isinstance(self.layer, LatentLayer):
            mixed = self.layer(states[pooled])
        else:
            mixed = self.layer(
                states, lambda q, k, v: _within_texts(q, k, v, segments, places, rows)
            )[pooled]
        features["sentence_embedding"] = mean(mixed, segments[pooled], rows)
        return features

    def _starts(
        self, features: dict[str, Any], segments: Tensor, places: Tensor, rows: int
    ) -> Tensor:
        """Find for each text (N,) the first place that is pooled, after its prompt and BOS."""
        length = 0 if self.include_prompt else _prompt_length(features)
        starts = torch.full((rows,), length, device=places.device)
        ids = _packed_ids(features)
        if ids is None:
            return starts
        shared = torch.zeros_like(starts)
        for prompt in (prompt for prompt in self.prompts if len(prompt) == length):
            inside = places < length
            same = torch.zeros(rows, length, dtype=torch.int64, device=places.device)
            own = torch.tensor(prompt, device=places.device)[places[inside]]
            same[segments[inside], places[inside]] = (ids[inside] == own).long()
            # tokens before the first that differs
            shared = torch.maximum(shared, same.cumprod(1).sum(1))
        # another prompt of this length shares at most its beginning with a stored one
        starts = torch.where(shared >= max(1, length - MERGED), shared, starts)
        if self.bos is not None:
            opening = segments[(places == 0) & (ids == self.bos)]
            starts = starts.index_put((opening,), starts[opening].clamp(min=1))
        return starts

    def get_embedding_dimension(self) -> int:
        """Return H."""
        return self.width

    # the name before sentence-transformers 6
    get_sentence_embedding_dimension = get_embedding_dimension

    def save(self, output_path: str, *args: object, **kwargs: object) -> None:
        """Write settings and weights to the module's folder, and this file to its parent.

        modules.json refers to the file there.
        """
        from safetensors.torch import save_model

        folder = Path(output_path)
        folder.mkdir(parents=True, exist_ok=True)
        config = {**self.config, "include_prompt": self.include_prompt}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_model(self, str(folder / "model.safetensors"))
        shutil.copyfile(__file__, folder.parent / Path(__file__).name)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> AttentionPooling:
        """Read a saved module from a local folder or the hub.

        Raises:
            OSError: one of the files is missing.
        """
        from safetensors.torch import load_model

        files = []
        for name in cls.FOLDER_FILES:
            path: str | None = os.path.join(model_name_or_path, subfolder, name)
            if not os.path.isdir(model_name_or_path):
                from sentence_transformers.util import load_file_path

                keys = ("token", "cache_folder", "revision", "local_files_only")
                given = {key: kwargs[key] for key in keys if key in kwargs}
                path = load_file_path(model_name_or_path, os.path.join(subfolder, name), **given)
            if path is None or not os.path.isfile(path):
                raise FileNotFoundError(
                    f"{model_name_or_path}: {os.path.join(subfolder, name)} is missing"
                )
            files.append(path)
        with open(files[0], encoding="utf-8") as file:
            module = cls(**json.load(file))
        load_model(module, files[1])
        return module


def _packed(features: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, int]:
    """Pack the real tokens (T, H) one text after the other.

    Also returns the text of each token (T,), its place in the text (T,), and the number of texts.
    """
    states = features["token_embeddings"]
    if "cu_seq_lens_q" in features:
        bounds = features["cu_seq_lens_q"].to(states.device).long()
        states, lengths = states.flatten(0, -2), bounds.diff()
        segments = torch.repeat_interleave(
            torch.arange(len(lengths), device=states.device), lengths
        )
        places = torch.arange(len(states), device=states.device) - bounds[:-1][segments]
        return states, segments, places, len(lengths)
    mask = features.get("attention_mask")
    mask = torch.ones(states.shape[:2], device=states.device) if mask is None else mask
    segments, columns = mask.nonzero(as_tuple=True)
    first = mask.to(torch.int32).argmax(dim=1)
    return states[segments, columns], segments, columns - first[segments], len(states)


def _packed_ids(features: Mapping[str, Tensor]) -> Tensor | None:
    """Return token ids (T,) in the order of `_packed`, or None if the features lack them."""
    ids, mask = features.get("input_ids"), features.get("attention_mask")
    if ids is None or "cu_seq_lens_q" in features or mask is None:
        return None if ids is None else ids.flatten()
    return ids[mask.bool()]


def _prompt_length(features: dict[str, Any]) -> int:
    """Return the number of prompt tokens before every text of the batch.

    The feature is a number, or a tensor of equal numbers.
    """
    length = features.get("prompt_length")
    return int(length.flatten()[0]) if isinstance(length, Tensor) else int(length or 0)


def _within_texts(
    query: Tensor, key: Tensor, value: Tensor, segments: Tensor, places: Tensor, rows: int
) -> Tensor:
    """Compute attention (T, G, W) within each text, as a batch padded on the right."""
    longest = int(places.max()) + 1
    index = segments * longest + places

    def batch(each: Tensor) -> Tensor:
        empty = each.new_zeros(rows * longest, *each.shape[1:])
        return empty.index_copy(0, index, each).view(rows, longest, *each.shape[1:]).transpose(1, 2)

    real = torch.zeros(rows * longest, dtype=torch.bool, device=query.device).index_fill(
        0, index, True
    )
    # a padded row that sees nothing would become NaN, but a text always has a first token
    mask = real.view(rows, 1, 1, longest) | (torch.arange(longest, device=query.device) == 0)
    out = F.scaled_dot_product_attention(batch(query), batch(key), batch(value), attn_mask=mask)
    return out.transpose(1, 2).flatten(0, 1)[index]
