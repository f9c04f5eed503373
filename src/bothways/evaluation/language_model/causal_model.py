"""A causal language model to be measured: a decoder, its vocabulary head and its tokenizer.

An encoder does not have a head and cuts texts to its maximal length. A `CausalLM` does neither. It
is the model that other programs would load, with full causal attention: LongLoRA trains with
shifted groups and is evaluated without them (arXiv 2309.12307, section 3.2). It runs in two ways,
with the same result:

- Under an attention plan, for the losses of whole rows, if the family takes plans. transformers'
  own attention draws an L × L mask for a sliding window and writes scores out for soft-capping. The
  memory of a plan grows only linearly with L.
- As plain transformers runs it, for families that do not take plans and for tokens generated after
  a prompt: with fused attention if the family has one, and with a key-value cache. Plans fill such
  a cache with the prompt but do not read it.

Before anything is measured, a perturbation proves for both ways that no token sees a later one. The
perplexity of a model that reads its own answer would be meaningless.

Letters: B rows, L tokens of a row, H hidden, V vocabulary, M positions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bothways.attention.direction import direction_of
from bothways.attention.interface import NAME
from bothways.attention.plan import AttentionPlan
from bothways.attention.probe import reach_matrix
from bothways.attention.run import DecoderOutput, Execution, hidden_states, prefill
from bothways.attention.shifted import ShiftedGroups
from bothways.attention.stock import evaluation_mode, stock
from bothways.attention.text_config import text_configs
from bothways.backbone.rope import forget_lengths
from bothways.config import Direction
from bothways.encoder.texts.embedding_rows import check_embedded, embedding_rows
from bothways.errors import DirectionError, InputError, UnsupportedFamily

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HEAD_CHUNK = 512
"""Number of positions with logits in memory at the same time.

This is 512 · 128,256 · 4 bytes = 263 MB for the largest vocabularies, at any length.
"""

log = logging.getLogger("bothways")

_PROBE_TOKENS = 6
NEEDS_CAUSAL = "perplexity and generation need a causal model: name the base LLM, or convert it with direction causal"
"""The end of messages about models that read later tokens."""

FAR = 4
"""Longest prompt, in multiples of a model's positions.

LongLoRA's passkeys (arXiv 2309.12307) go to 1.5 times the positions of the training.
"""


class CausalLM(nn.Module):
    """A decoder and its head.

    `load_language_model` makes one from a base, `as_language_model` from an encoder.

    Args:
        backbone: bare causal transformers decoder in evaluation mode, with an attention that runs
            without a plan.
        head: maps states (M, H) to logits (M, V).
        tokenizer: the model's tokenizer.
        execution: "packed" if the family runs plans (`attention.probe` measures it), "padded" if it
            does not or if it is unknown.
        provenance: origin of the model. "base" is its name.
    """

    direction: Direction = "causal"

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
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
        """Return the name of the model for messages."""
        return str(self.provenance.get("base", type(self.backbone).__name__))

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        weight: Tensor = next(self.backbone.parameters())
        return weight.device

    # --- tokens --------------------------------------------------------------------------

    def tokens(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens.

        Raises:
            InputError: if the tokenizer gives an id that the model does not have an embedding for.
        """
        # Tokenizers refuse lone surrogates, so each becomes U+FFFD.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        # verbose=False silences the warning that a text exceeds the context. Tasks measure that.
        ids = list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        check_embedded(self.tokenizer, ids, embedding_rows(self.backbone), f"{self.name}: a text")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""
        return str(self.tokenizer.decode(list(ids)))

    def prompt(self, text: str) -> list[int]:
        """Return the token ids of a text to be continued.

        They start with BOS if the tokenizer adds one. They never end with EOS.
        """
        bos = self.tokenizer.bos_token_id
        opened = bos is not None and self.tokenizer("a", verbose=False)["input_ids"][:1] == [bos]
        return [bos] * opened + self.tokens(text)

    # --- losses and continuations --------------------------------------------------------

    @torch.no_grad()
    def token_losses(
        self, ids: Tensor, last: int | None = None, *, shifted: ShiftedGroups | None = None
    ) -> Tensor:
        """Compute the negative log-likelihood (nats) of tokens given all earlier ones in the row.

        Args:
            ids: (B, L) int64, L ≥ 2.
            last: number of tokens to score at the end of each row, from 1 to L - 1. If None, score
                all tokens except the first.
            shifted: see `states`.

        Returns:
            (B, last) float32. At most `HEAD_CHUNK` positions have logits at the same time.

        Raises:
            UnsupportedFamily: see `states`.
        """
        count = ids.shape[1] - 1 if last is None else last
        ids = ids.to(self.device)
        states = self.states(ids, shifted=shifted)[:, -count - 1 : -1].flatten(0, 1)
        targets = ids[:, -count:].flatten()
        parts = [
            F.cross_entropy(self.head(states[rows]).float(), targets[rows], reduction="none")
            for rows in (
                slice(start, start + HEAD_CHUNK) for start in range(0, len(targets), HEAD_CHUNK)
            )
        ]
        return torch.cat(parts).view(-1, count)

    def states(self, ids: Tensor, *, shifted: ShiftedGroups | None = None) -> Tensor:
        """Compute the last hidden states (B, L, H) of rows (B, L) of one length.

        They are computed under a plan if the family takes one.

        Args:
            ids: int64, on the device of the weights.
            shifted: shifted groups with `at_test`. If None, attention is full.

        Raises:
            UnsupportedFamily: if there are groups and the family does not take plans.
        """
        forget_lengths(self.backbone)
        if self.execution == "packed":
            plan = AttentionPlan((ids.shape[1],) * ids.shape[0], "causal", shifted)
            with stock(self.backbone, NAME):
                states = hidden_states(self.backbone, ids.flatten(), plan)
            return states.view(*ids.shape, -1)
        if shifted is not None:
            raise UnsupportedFamily(
                f"{self.name}: cannot run in shifted groups, because its attention code does not take plans; leave out shifted"
            )
        return self._plain_states(ids)

    def _plain_states(self, ids: Tensor) -> Tensor:
        states: Tensor = self.backbone(input_ids=ids, use_cache=False).last_hidden_state
        return states

    @torch.no_grad()
    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """Return the most probable continuation, token by token.

        It has at most `count` tokens, or fewer if an EOS ends it. The EOS is left out.
        """
        row = torch.tensor([list(ids)], device=self.device)
        fed, cache = row, None
        found: list[int] = []
        while len(found) < count:
            output = self._read(fed, cache)
            token = int(self.head(output.last_hidden_state[0, -1:]).argmax(-1))
            if token == self.tokenizer.eos_token_id:
                break
            found.append(token)
            # Recurrent families keep their state in another field. For them the whole row is read
            # again, which is slower but equally exact.
            cache = getattr(output, "past_key_values", None)
            row = torch.cat([row, row.new_tensor([[token]])], dim=1)
            fed = row if cache is None else row[:, -1:]
        return found

    def _read(self, ids: Tensor, cache: object) -> DecoderOutput:
        """Run the backbone over a row (1, L) from its start, or over its next token with a cache.

        From the start it runs under a plan if the family takes one.
        """
        if cache is not None:
            output: DecoderOutput = self.backbone(
                input_ids=ids, use_cache=True, past_key_values=cache
            )
            return output
        forget_lengths(self.backbone)
        if self.execution == "packed":
            # stock attention draws an (L, L) mask if the family has windows
            with stock(self.backbone, NAME):
                return prefill(self.backbone, ids[0])
        whole: DecoderOutput = self.backbone(input_ids=ids, use_cache=True)
        return whole

    # --- properties and checks -----------------------------------------------------------

    @property
    def positions(self) -> int | None:
        """Return the number of tokens that the config was written for.

        A rotary model also runs beyond them, well or badly.
        """
        found = getattr(next(text_configs(self.backbone)), "max_position_embeddings", None)
        return int(found) if found and found > 0 else None

    @property
    def rope(self) -> dict[str, Any] | None:
        """Return the config's rotary settings, position interpolation included.

        The result is None for a family without such settings.
        """
        found = getattr(next(text_configs(self.backbone)), "rope_parameters", None)
        return dict(found) if found else None

    def require_positions(self, length: int) -> None:
        """Refuse a row that is longer than the model's table of positions.

        Raises:
            InputError: if the positions are a table (learned, or computed once) and `length` tokens
                exceed it.
        """
        if self.rope is None and self.positions is not None and length > self.positions:
            raise InputError(
                f"{self.name}: has a table of {self.positions} positions, so {length} tokens do not fit; choose fewer"
            )

    def require_reach(self, length: int) -> None:
        """Refuse prompts far beyond the positions of the training, before they are written.

        Rotary positions do not end, and to ask for a length a little beyond the training is
        reasonable. At more than `FAR` times that length a model fails for certain, and the pass
        needs all memory there is.

        Raises:
            InputError: if `length` tokens exceed a table of positions, or `FAR` times the model's
                positions.
        """
        self.require_positions(length)
        if self.positions is None or length <= self.positions:
            return
        if length > FAR * self.positions:
            raise InputError(
                f"{self.name}: {length} tokens are more than {FAR} times its {self.positions} positions; choose fewer, "
                "or extend the positions with --context"
            )
        log.warning(
            "%s: %d tokens are more than its %d positions; it was not trained for them",
            self.name,
            length,
            self.positions,
        )

    def prove_causal(self) -> None:
        """Perturb each token of a short row in turn, in every way that the row is run.

        Earlier states must stay the same, and the token's own state must change.

        Raises:
            InputError: if the config says that the model is bidirectional.
            DirectionError: if it says causal and is not, or if its states do not react at all (or
                are NaN).
        """
        if direction_of(self.backbone) != "causal":
            raise InputError(f"{self.name} is bidirectional, and {NEEDS_CAUSAL}")
        vocabulary = int(next(text_configs(self.backbone)).vocab_size)
        # skip the first ids, which are special tokens in many vocabularies
        ids = 5 + 7 * torch.arange(_PROBE_TOKENS, device=self.device) % (vocabulary - 5)
        others = 5 + (ids - 5 + (vocabulary - 5) // 2) % (vocabulary - 5)
        for run in (self._plain_states, self.states)[: 2 if self.execution == "packed" else 1]:
            with evaluation_mode(self.backbone):
                reach = reach_matrix(lambda row, run=run: run(row[None])[0], ids, others)  # type: ignore[misc]
            self._check_reach(reach)

    def _check_reach(self, reach: Tensor) -> None:
        if bool(reach.triu(1).any()):
            token, later = (int(place) + 1 for place in reach.triu(1).nonzero()[0])
            raise DirectionError(
                f"{self.name}: claims to be causal, but token {token} sees token {later}; {NEEDS_CAUSAL}"
            )
        if not bool(reach.diagonal().all()):
            raise DirectionError(
                f"{self.name}: the states do not react to the tokens, or are NaN; load the model in float32 or bfloat16"
            )
