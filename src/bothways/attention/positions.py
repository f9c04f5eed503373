"""How many tokens a backbone has positions for, and whether a longer text stops it.

Open it when a length is to be checked. Rotary positions go on beyond the length of training, with
worse vectors. A table of learned or precomputed positions ends, and the first token beyond it is an
index error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bothways.attention.run import position_offset

if TYPE_CHECKING:
    from torch import nn


def usable_positions(model: nn.Module) -> int | None:
    """Tokens that a backbone has positions for; None if its config sets no limit."""
    # under dynamic positions the length of training, up to which a text's frequencies do not follow
    # its neighbors' lengths
    config: Any = model.config
    text = config.get_text_config()
    # MPT has biases for max_seq_len tokens, and no other field
    named = getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None)
    own = named if isinstance(named, int) else 0
    # RoBERTa's lineage counts positions from padding_idx + 1; XLNet writes -1 for no limit
    return own - position_offset(model) if own > 0 else None


def table_positions(model: nn.Module) -> int | None:
    """Return the number of tokens after which a backbone's table of positions ends.

    Returns None if the positions are rotary or have no limit.
    """
    rotary = any("rotary" in type(module).__name__.lower() for module in model.modules())
    return None if rotary else usable_positions(model)
