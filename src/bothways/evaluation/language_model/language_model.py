"""A causal language model to be measured: its decoder, its vocabulary head, its tokenizer.

Apart from the encoder, which has no head and cuts texts to its length. What is measured is the model that others would load, with full
causal attention: LongLoRA trains with shifted groups and is evaluated without (arXiv 2309.12307, section 3.2). There are two ways to
run it, with one result:

- losses of whole rows under an attention plan, where the family takes one. transformers' own attention draws a mask of L × L for a
  sliding window and writes scores out for soft-capping; the plan's memory grows with L alone;
- the families that take no plan, and the tokens generated behind a prompt, as plain transformers runs them: fused attention where they
  have one, and a key-value cache, which plans fill with the prompt and do not read.

Before anything is measured, a perturbation proves of both that no token sees a later one: a model that reads its own answer has no
perplexity.

Letters: B rows, L tokens of a row, H hidden, V vocabulary, M positions.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bothways.attention.direction import direction_of
from bothways.attention.interface import NAME
from bothways.attention.plan import AttentionPlan
from bothways.attention.probe import measure_execution, reach_matrix
from bothways.attention.run import Execution, hidden_states, prefill
from bothways.attention.shifted import ShiftedGroups
from bothways.attention.stock import quiet, set_implementation, stock
from bothways.attention.text_config import text_configs
from bothways.backbone.hardware import resolve_device
from bothways.backbone.loading.sources import load_pretrained, source_config
from bothways.backbone.rope import RopeConfig, forget_lengths, rope_overrides
from bothways.config import Direction
from bothways.encoder.embedding_rows import check_embedded, embedding_rows
from bothways.encoder.encoder import Encoder
from bothways.errors import DirectionError, InputError, SourceError, UnsupportedFamily

HEAD_CHUNK = 512
"""Positions whose logits exist at the same time: 512 · 128,256 · 4 bytes = 263 MB for the largest vocabularies, at any length."""

log = logging.getLogger("bothways")

_PROBE_TOKENS = 6
FAR = 4  # times the positions of a model; LongLoRA's passkeys (arXiv 2309.12307) go to 1.5 times those of the training


class CausalLM(nn.Module):
    """A decoder and its head. Made by `load_language_model`, or from an encoder by `as_language_model`.

    Args:
        backbone: bare transformers decoder in evaluation mode, causal, with an attention that needs no plan.
        head: (M, H) states to (M, V) logits.
        tokenizer: its tokenizer.
        execution: "packed" where the family runs plans (`attention.probe` measures it), "padded" where it does not, or nobody knows.
        provenance: where it comes from; "base" names it.
    """

    direction: Direction = "causal"

    def __init__(
        self,
        backbone: Any,
        head: nn.Module,
        tokenizer: Any,
        *,
        execution: Execution = "padded",
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.tokenizer = backbone, head, tokenizer
        self.execution: Execution = execution
        self.provenance = dict(provenance or {})

    @property
    def name(self) -> str:
        """How messages name the model."""
        return str(self.provenance.get("base", type(self.backbone).__name__))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device

    # --- tokens ------------------------------------------------------------------------------------------------------------

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        # tokenizers refuse lone surrogates; each becomes U+FFFD
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        # `verbose` silences the warning that a text exceeds the context: whether it may is what is being measured
        ids = list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        check_embedded(self.tokenizer, ids, embedding_rows(self.backbone), f"{self.name}: a text")
        return ids

    def prompt(self, text: str) -> list[int]:
        """Token ids of a text to be continued: behind BOS where the tokenizer puts one, and never closed by EOS."""
        bos = self.tokenizer.bos_token_id
        opened = bos is not None and self.tokenizer("a", verbose=False)["input_ids"][:1] == [bos]
        return [bos] * opened + self.tokens(text)

    # --- what is measured --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def token_losses(self, ids: Tensor, last: int | None = None, *, shifted: ShiftedGroups | None = None) -> Tensor:
        """Negative log-likelihood of tokens given all earlier ones of their row, in nats.

        Args:
            ids: (B, L) int64, L ≥ 2.
            last: score the last so many tokens of each row only, 1 to L - 1; None for all that have a token before them.
            shifted: see `states`.

        Returns:
            (B, last) float32. The logits of at most `HEAD_CHUNK` positions exist at a time.

        Raises:
            UnsupportedFamily: see `states`.
        """
        count = ids.shape[1] - 1 if last is None else last
        ids = ids.to(self.device)
        states = self.states(ids, shifted=shifted)[:, -count - 1 : -1].flatten(0, 1)
        targets = ids[:, -count:].flatten()
        parts = [
            F.cross_entropy(self.head(states[rows]).float(), targets[rows], reduction="none")
            for rows in (slice(start, start + HEAD_CHUNK) for start in range(0, len(targets), HEAD_CHUNK))
        ]
        return torch.cat(parts).view(-1, count)

    def states(self, ids: Tensor, *, shifted: ShiftedGroups | None = None) -> Tensor:
        """Last hidden states (B, L, H) of rows (B, L) of one length, under a plan where the family takes one.

        Args:
            ids: int64, where the weights are.
            shifted: groups that are kept `at_test`; None for full attention.

        Raises:
            UnsupportedFamily: groups, for a family that takes no plan.
        """
        forget_lengths(self.backbone)
        if self.execution == "packed":
            plan = AttentionPlan((ids.shape[1],) * ids.shape[0], "causal", shifted)
            with stock(self.backbone, NAME):
                return hidden_states(self.backbone, ids.flatten(), plan).unflatten(0, tuple(ids.shape))
        if shifted is not None:
            raise UnsupportedFamily(
                f"{self.name}: cannot be measured in shifted groups, because its attention code takes no plan; measure it without"
            )
        return self._plain_states(ids)

    def _plain_states(self, ids: Tensor) -> Tensor:
        states: Tensor = self.backbone(input_ids=ids, use_cache=False).last_hidden_state
        return states

    @torch.no_grad()
    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """The most probable continuation, token by token: at most `count` tokens, fewer where an EOS ends it (left out)."""
        row = torch.tensor([list(ids)], device=self.device)
        fed, cache = row, None
        found: list[int] = []
        while len(found) < count:
            output = self._read(fed, cache)
            token = int(self.head(output.last_hidden_state[0, -1:]).argmax(-1))
            if token == self.tokenizer.eos_token_id:
                break
            found.append(token)
            # recurrent families keep their state in another field; reading the whole row again is slower and as exact
            cache = getattr(output, "past_key_values", None)
            row = torch.cat([row, row.new_tensor([[token]])], dim=1)
            fed = row if cache is None else row[:, -1:]
        return found

    def _read(self, ids: Tensor, cache: Any) -> Any:
        """Output for a row (1, L) from its beginning, under a plan where the family takes one; for its next token with a cache."""
        if cache is not None:
            return self.backbone(input_ids=ids, use_cache=True, past_key_values=cache)
        forget_lengths(self.backbone)
        if self.execution == "packed":
            # stock attention draws an (L, L) mask where there are windows
            with stock(self.backbone, NAME):
                return prefill(self.backbone, ids[0])
        return self.backbone(input_ids=ids, use_cache=True)

    # --- what the model is -------------------------------------------------------------------------------------------------

    @property
    def positions(self) -> int | None:
        """Tokens that the config was written for; a rotary model runs beyond them, well or badly."""
        found = getattr(next(text_configs(self.backbone)), "max_position_embeddings", None)
        return int(found) if found and found > 0 else None

    @property
    def rope(self) -> dict[str, Any] | None:
        """The config's rotary settings, position interpolation included; None for a family that has no such setting."""
        found = getattr(next(text_configs(self.backbone)), "rope_parameters", None)
        return dict(found) if found else None

    def require_positions(self, length: int) -> None:
        """Refuse a row that the model has no positions for.

        Raises:
            InputError: positions are a table (learned, or computed once) and `length` tokens exceed it.
        """
        if self.rope is None and self.positions is not None and length > self.positions:
            raise InputError(
                f"{self.name}: has a table of {self.positions} positions, {length} tokens do not fit; choose fewer"
            )

    def require_reach(self, length: int) -> None:
        """Refuse prompts far beyond the positions that the model was trained at, before they are made.

        Rotary positions go on for ever, and a length a little beyond those of the training is a fair question. A length `FAR` times
        beyond has one answer, and costs all memory there is.

        Raises:
            InputError: `length` tokens are more than a table of positions, or `FAR` times the model's positions.
        """
        self.require_positions(length)
        if self.positions is None or length <= self.positions:
            return
        if length > FAR * self.positions:
            raise InputError(
                f"{self.name}: {length} tokens are more than {FAR} times its {self.positions} positions; choose fewer, or stretch them "
                "with --context"
            )
        log.warning(
            "%s: %d tokens are more than its %d positions, beyond which it was not trained", self.name, length, self.positions
        )

    def prove_causal(self) -> None:
        """Perturb each token of a short row in turn: earlier states must stay, its own must move, whichever way the row is run.

        Raises:
            InputError: the config says that the model is bidirectional.
            DirectionError: it says causal and is not, or its states do not react at all (or are NaN).
        """
        if direction_of(self.backbone) != "causal":
            raise InputError(f"{self.name}: is bidirectional, and {_NEEDS_CAUSAL}")
        vocabulary = int(next(text_configs(self.backbone)).vocab_size)
        # the first ids are special tokens in many vocabularies
        ids = 5 + 7 * torch.arange(_PROBE_TOKENS, device=self.device) % (vocabulary - 5)
        others = 5 + (ids - 5 + (vocabulary - 5) // 2) % (vocabulary - 5)
        for run in (self._plain_states, self.states)[: 2 if self.execution == "packed" else 1]:
            with quiet(self.backbone):
                reach = reach_matrix(lambda row, run=run: run(row[None])[0], ids, others)  # type: ignore[misc]
            self._check_reach(reach)

    def _check_reach(self, reach: Tensor) -> None:
        if bool(reach.triu(1).any()):
            token, later = (int(place) + 1 for place in reach.triu(1).nonzero()[0])
            raise DirectionError(f"{self.name}: claims to be causal, but token {token} sees token {later}; {_NEEDS_CAUSAL}")
        if not bool(reach.diagonal().all()):
            raise DirectionError(
                f"{self.name}: its states do not react to its tokens, or are NaN; load it in float32 or bfloat16"
            )


_NEEDS_CAUSAL = "perplexity and generation need a causal model: name the base LLM, or convert it with direction causal"


def load_language_model(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    rope: Mapping[str, Any] | RopeConfig | None = None,
) -> CausalLM:
    """A base LLM with its head, causal and with full attention.

    Args:
        name: hub id, folder, .gguf file or embedded name.
        dtype: as `bothways.convert`; the published perplexities are half-precision ones.
        device: as `bothways.convert`.
        rope: fields of transformers' `rope_parameters` to set over the base's own, e.g. {"rope_type": "linear", "factor": 4.0}
            for position interpolation (arXiv 2306.15595) without training; or a `RopeConfig`, which finds them from a context.

    Raises:
        SourceError: the model cannot be found, reached or read.
        UnsupportedFamily: no text decoder, or one whose head cannot stand alone.
        InputError: an encoder-only model, which has no such head; a wrong dtype or device; `rope` for a family without RoPE.
    """
    overrides = rope_overrides(name, rope) if isinstance(rope, RopeConfig) else _rope(name, rope)
    place = resolve_device(device)
    loaded = load_pretrained(name, dtype=dtype, device=place, head=True, config_overrides=overrides)
    if loaded.head is None:
        raise InputError(f"{name}: {loaded.model.config.model_type} is an encoder-only model, and {_NEEDS_CAUSAL}")
    provenance = {"base": str(name), "source": loaded.source.kind}
    execution = _execution(loaded.model)
    return CausalLM(loaded.model, loaded.head, loaded.tokenizer, execution=execution, provenance=provenance).eval()


def _execution(backbone: Any) -> Execution:
    """How the backbone runs plans; its attention stays the one that transformers chose, for what runs without a plan."""
    config: Any = next(text_configs(backbone))
    before = config._attn_implementation
    try:
        return measure_execution(backbone)
    finally:
        set_implementation(backbone, before)


@contextmanager
def as_language_model(model: Any) -> Iterator[CausalLM]:
    """The language model in whatever is to be measured, proved causal; an encoder runs in plain attention meanwhile.

    Args:
        model: a `CausalLM`, or a causal `Encoder`. An encoder has no head: that of the base it was made from is loaded. Where
            the family ties the head to the input embeddings, the encoder's own embeddings serve, trained or not.

    Raises:
        InputError: anything else, a bidirectional encoder, or one whose base is unknown or has no head.
        DirectionError: see `CausalLM.prove_causal`.
    """
    with ExitStack() as stack:
        if isinstance(model, CausalLM):
            language_model = model
        elif isinstance(model, Encoder):
            if model.direction != "causal":
                raise InputError(f"{model.provenance.get('base', 'this encoder')}: is bidirectional here, and {_NEEDS_CAUSAL}")
            head = _head_of(model)
            language_model = CausalLM(
                model.backbone, head, model.tokenizer, execution=model.execution, provenance=model.provenance
            )
            stack.enter_context(_plain_attention(model.backbone))
        else:
            raise InputError(
                f"{type(model).__name__}: is no language model; give load_language_model(BASE) or a causal encoder"
            )
        stack.enter_context(quiet(language_model))
        language_model.prove_causal()
        yield language_model


@contextmanager
def _plain_attention(backbone: Any) -> Iterator[None]:
    """transformers' fused attention inside, its written-out one where the family has no other.

    Without a plan an encoder's own attention draws a mask of L × L and writes its scores out. Behind a prompt, tokens are generated
    without one.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(stock(backbone, "sdpa"))
        except (ValueError, ImportError):
            stack.enter_context(stock(backbone, "eager"))
        yield


def _head_of(encoder: Encoder) -> nn.Module:
    base = encoder.provenance.get("base")
    if base is None:
        raise InputError("this encoder does not say which base it was made from, so its vocabulary head cannot be had")
    try:
        loaded = load_pretrained(str(base), dtype=encoder.dtype, device=encoder.device, head=True)
    except SourceError as error:
        raise SourceError(f"the encoder's vocabulary head is that of its base, {base}, which is not found: {error}") from error
    if loaded.head is None:
        raise InputError(f"{base}: {loaded.model.config.model_type} is an encoder-only model, and {_NEEDS_CAUSAL}")
    backbone: Any = encoder.backbone
    replaced, own = loaded.model.get_input_embeddings().weight, backbone.get_input_embeddings().weight
    for module in loaded.head.modules():
        for field, parameter in list(module.named_parameters(recurse=False)):
            if parameter is replaced:
                setattr(module, field, own)
    return loaded.head.eval()


def _rope(name: str | os.PathLike[str], values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The config field with the base's own rotary settings and `values` over them."""
    if values is None:
        return None
    config = source_config(name)
    own = getattr(config.get_text_config(decoder=True), "rope_parameters", None)
    if not own:
        raise InputError(f"rope: {name} ({config.model_type}) has no rotary positions to interpolate")
    if "rope_type" not in own:
        raise InputError(f"rope: {name} has rotary settings per layer type ({', '.join(own)}); set them in its config.json")
    return {"rope_parameters": {**own, **values}}
