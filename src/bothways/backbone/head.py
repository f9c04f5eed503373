"""The language-model head alone: maps last hidden states to logits exactly as the family does.

A head is more than a matrix. Gemma 2 caps its logits softly, Cohere and Granite scale them, others
add a bias or cast to float32. Instead of a table of families, the head *is* the family's own
CausalLM class, with an identity in place of its decoder. The states pass through the identity and
reach the untouched code that turns them into logits. The result is compared once with the whole
model, so no training starts on wrong logits. The head is separate from the decoder because MNTP
applies it only at masked positions.

Letters: M positions, H hidden, V vocabulary.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from bothways.errors import UnsupportedFamily

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROBE_LENGTH = 8
# The same operations on the same states differ by rounding only. A lost scale or soft cap is off by
# tenths.
_TOLERANCE = 1e-3


class Head(nn.Module):
    """Maps last hidden states to logits with the code of a CausalLM class.

    Its parameters are those of the output projection. If the family ties them to the input
    embeddings, they are the same tensors as the decoder's (`tied`), so training the head also moves
    the embeddings.

    Args:
        causal: the CausalLM. Its decoder is taken out of it.
        slot: the attribute that holds the decoder.
    """

    def __init__(self, causal: nn.Module, slot: str) -> None:
        super().__init__()
        embeddings = causal.get_input_embeddings()  # type: ignore[operator]
        output = causal.get_output_embeddings()  # type: ignore[operator]
        self.tied = output is not None and getattr(output, "weight", None) is getattr(
            embeddings, "weight", self
        )
        # Stored by name: transformers finds the output projection through the decoder, which is
        # about to leave.
        self.output = next(
            (name for name, module in causal.named_modules() if module is output), ""
        )
        self.slot = slot
        self.decoder_class = type(getattr(causal, slot))
        setattr(causal, slot, _IdentityDecoder())
        self.causal = causal

    def forward(self, states: Tensor) -> Tensor:
        """Compute logits (M, V) from last hidden states (M, H)."""
        logits: Tensor = self.causal(inputs_embeds=states.unsqueeze(0), use_cache=False).logits
        return logits.squeeze(0)

    def tie(self, decoder: Any) -> None:
        """Use the input embeddings of `decoder` for the output, if the family ties the two.

        A head comes with the decoder that it was loaded with. If it is used on another one with
        trained (or yet to be trained) embeddings, it must read those.
        """
        if self.tied:
            projection: Any = self.causal.get_submodule(self.output)
            projection.weight = decoder.get_input_embeddings().weight

    def take(self, decoder: Any) -> None:
        """Copy the values of the input embeddings of `decoder`, if the family ties the two.

        Only rows of tokens that the head knows are copied. This is for a head that stays frozen
        next to an encoder with embeddings trained earlier. The base's own embeddings would not fit
        its states.
        """
        if self.tied:
            projection: Any = self.causal.get_submodule(self.output)
            with torch.no_grad():
                projection.weight.copy_(
                    decoder.get_input_embeddings().weight[: len(projection.weight)]
                )

    def make_room(self, decoder: Any) -> None:
        """Add output rows for tokens that `decoder` has and this head does not, from an adapter.

        Each new row is the mean of the others, as LongLoRA initializes its padding token. If the
        family ties the two, it is the decoder's row.
        """
        causal: Any = self.causal
        projection: Any = causal.get_submodule(self.output)
        rows = decoder.get_input_embeddings().weight.shape[0]
        more = rows - projection.weight.shape[0]
        if more <= 0:
            return
        with torch.no_grad():
            for name, value in list(projection.named_parameters(recurse=False)):
                grown = torch.cat(
                    [value, value.mean(0, keepdim=True).expand(more, *value.shape[1:])]
                )
                setattr(projection, name, nn.Parameter(grown, requires_grad=value.requires_grad))
        projection.out_features = rows
        causal.config.get_text_config().vocab_size = rows
        if hasattr(causal, "vocab_size"):
            causal.vocab_size = rows
        self.tie(decoder)

    def check_joins(self, decoder: PreTrainedModel) -> None:
        """Refuse, before anything is trained, a decoder that `join` could not put back.

        Raises:
            UnsupportedFamily: if the decoder was deeper inside a larger model.
        """
        if type(decoder) is not self.decoder_class:
            raise UnsupportedFamily(
                f"{type(self.causal).__name__}: holds its text decoder inside a larger model, so it cannot be reassembled; "
                "give the text model alone"
            )

    def join(self, decoder: Any) -> Any:
        """Build the whole CausalLM around `decoder`, which reverses `take_apart`.

        The head must not be used afterwards.

        Raises:
            UnsupportedFamily: if the decoder was deeper inside a larger model.
        """
        self.check_joins(decoder)
        self.tie(decoder)
        setattr(self.causal, self.slot, decoder)
        return self.causal


def take_apart(causal: Any, decoder: Any) -> Head:
    """Split a loaded CausalLM into its decoder and a `Head`, and prove that both make the model.

    Eight fixed tokens run through `causal`, then through `decoder` and the head. `causal` must not
    be used afterwards.

    Args:
        causal: a transformers CausalLM in evaluation mode, with an attention that does not need a
            plan.
        decoder: the bare decoder inside it.

    Raises:
        UnsupportedFamily: if decoder and head do not give the model's logits, with the reason.
    """
    family = type(causal).__name__
    slot = causal.base_model_prefix
    if not isinstance(getattr(causal, slot, None), nn.Module):
        raise UnsupportedFamily(
            f"{family}: holds no separate decoder, so its LM head cannot be used on hidden states"
        )
    rows = causal.get_input_embeddings().weight.shape[0]
    ids = (
        ((1 + 7 * torch.arange(_PROBE_LENGTH)) % rows)
        .unsqueeze(0)
        .to(next(causal.parameters()).device)
    )
    mask = torch.ones_like(ids)
    with torch.no_grad():
        try:
            expected = causal(input_ids=ids, attention_mask=mask).logits[0]
            states = decoder(input_ids=ids, attention_mask=mask).last_hidden_state[0]
            head = Head(causal, slot)
            found = head(states)
        except (TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UnsupportedFamily(
                f"{family}: its LM head cannot be used on hidden states alone: {reason}"
            ) from error
        _compare(found, expected, family)
    return head


def frozen_view(head: nn.Module) -> nn.Module:
    """Copy a head over the same storage, with parameters of its own that never train.

    A head is often tied to the input embeddings, and switching off its gradient in place would
    freeze these too.
    """
    shared: dict[int, Any] = {
        id(p): nn.Parameter(p.detach(), requires_grad=False) for p in head.parameters()
    }
    return copy.deepcopy(head, shared)


def trainable_copy(head: nn.Module) -> nn.Module:
    """Copy a head with weights of its own. Training it does not change tied embeddings."""
    return copy.deepcopy(head).requires_grad_(True)


def head_like(decoder: nn.Module, head: nn.Module) -> nn.Module:
    """Return the head to train with next to `decoder`.

    If every weight of the decoder trains, this is the head itself, which trains too. Otherwise it
    is a frozen view.
    """
    if not all(parameter.requires_grad for parameter in decoder.parameters()):
        return frozen_view(head)
    if isinstance(head, Head):
        head.tie(decoder)
    return head.requires_grad_(True)


def _compare(found: Tensor, expected: Tensor, family: str) -> None:
    if found.shape != expected.shape:
        raise UnsupportedFamily(
            f"{family}: head gives logits of shape {tuple(found.shape)}, the model {tuple(expected.shape)}"
        )
    if not bool(torch.isfinite(expected).all()):
        raise UnsupportedFamily(
            f"{family}: the model's own logits are not finite; load it in float32 or bfloat16"
        )
    size = float(expected.float().abs().max())
    gap = float((found.float() - expected.float()).abs().max())
    if gap > _TOLERANCE * max(size, 1e-6):
        raise UnsupportedFamily(
            f"{family}: decoder and LM head, used separately, differ from the model by {gap:.3g} in logits of size {size:.3g}; "
            "training on them would be wrong"
        )


@dataclass
class _States(BaseModelOutputWithPast):
    """Decoder output that holds only states.

    Other values that a family's head code asks for (router logits, image states) are None.
    """

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


class _IdentityDecoder(nn.Module):
    """A decoder without layers. It returns the embeddings that it is called with."""

    def forward(self, *_: object, inputs_embeds: torch.FloatTensor, **__: object) -> _States:
        return _States(last_hidden_state=inputs_embeds)

    @property
    def decoder(self) -> _IdentityDecoder:
        # OPT and its relatives reach through the base model to `.decoder`.
        return self
