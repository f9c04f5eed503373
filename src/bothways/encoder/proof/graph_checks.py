"""The check of a graph that computes an encoder's short requests, against the encoder itself."""

from __future__ import annotations

import numpy as np
import torch

from bothways.attention.stock import evaluation_mode
from bothways.encoder.batch import TokenRow
from bothways.encoder.int8.choice import LEAST, MEAN
from bothways.encoder.module import EncoderModule
from bothways.encoder.proof.check import Check
from bothways.encoder.proof.samples import rows_of
from bothways.encoder.proof.vector_comparison import ROUNDED, compare_vectors

_INSTRUCTION = "Find a text that answers the question:\n"


def graph(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that the graph gives the encoder's vectors, and takes short requests alone.

    Requests are texts of 1 token up to the largest number, with a prompt that may not be pooled,
    and several texts in a batch. One of a token more must be left to torch. The vectors of an int8
    graph are those that were measured when it was opened.
    """
    if (account := encoder.graph.account) is not None:
        what = "keeps" if account.ok else "does not keep"
        return Check(
            name,
            account.ok,
            f"cos {account.least:.4f}",
            f"the int8 graph {what} the vectors of {len(account.cosines)} held texts: mean cosine to float32 "
            f"{account.mean:.4f} (at least {MEAN}), least {account.least:.4f} (at least {LEAST})",
        )
    limit: int = encoder.graph.tokens
    requests = _requests(encoder, limit, quick)
    worst = 0.0
    with evaluation_mode(encoder):
        for case, rows in requests.items():
            found: np.ndarray | None = encoder.graph(encoder, rows)
            if found is None:
                return Check(name, False, "–", f"the graph does not compute {case}")
            wanted = torch.cat([encoder(encoder.pack([row])) for row in rows])
            off = compare_vectors(encoder, torch.from_numpy(found), wanted)
            if off.exceeds(ROUNDED):
                return Check(name, False, off.figure, f"the graph gives another vector for {case}")
            worst = max(worst, off.value)
        if encoder.graph(encoder, [_of(encoder, limit + 1)]) is not None:
            return Check(
                name,
                False,
                "–",
                f"the graph computes {limit + 1} tokens, more than it was proved for",
            )
    return Check(
        name,
        True,
        f"{worst:.1e}",
        f"the OpenVINO graph of short requests gives the same vectors for {len(requests)} requests of up to {limit} tokens",
    )


def _requests(encoder: EncoderModule, limit: int, quick: bool) -> dict[str, list[TokenRow]]:
    """Return the rows of each request by its name."""
    sizes = [2, limit] if quick else [1, 2, limit // 2, limit - 1, limit]
    found = {f"a text of {size} tokens": [_of(encoder, size)] for size in sizes}
    found["a text after a prompt"] = encoder.tokenize([(_INSTRUCTION, "Yes, it is.")])
    for named in encoder.prompts:
        prompt = encoder.prompt(prompt_name=named)
        found[f"a text after the prompt {named}"] = encoder.tokenize(["Yes, it is."], prompt=prompt)
    found["several texts"] = [_of(encoder, size) for size in (limit // 4, 3, 7, limit // 4)]
    return {
        case: rows
        for case, rows in found.items()
        if len(rows) * max(len(row.ids) for row in rows) <= limit
        and not any(row.blocks for row in rows)
    }


def _of(encoder: EncoderModule, size: int) -> TokenRow:
    """Return a row of `size` tokens, made of the sample texts."""
    rows = [row for row in rows_of(encoder) if not row.blocks]
    tokens = [each for row in rows for each in zip(row.ids, row.pool, row.offsets)]
    ids, pool, offsets = zip(*(tokens * (1 + size // len(tokens)))[:size])
    return TokenRow(list(ids), list(pool) if any(pool) else [True] * size, list(offsets))
