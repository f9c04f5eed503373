"""Proves that a graph gives an encoder's vectors, on the texts that every export stores.

They are single words, code, Korean, markup, a long text, and texts after a prompt that is not
pooled. Each runs alone, and several run as one padded batch.

Letters: N texts, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bothways.attention.stock import evaluation_mode
from bothways.digest import file_sha256
from bothways.encoder import measured
from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.exports.graphs.onnx_graph import GraphRun
from bothways.exports.graphs.short import bare_graph
from bothways.exports.manifest import BARS
from bothways.exports.reference import SAMPLE, TEXTS, cosine

BAR = BARS["f32"]
"""Lowest cosine to the encoder's own vector. The length must agree as closely."""

_PAIR = ("Find a text that answers the question:\n", SAMPLE)
TOGETHER = 3  # texts of the padded batch


class Proof(NamedTuple):
    """The least cosine, its case, and the number of comparisons."""

    least: float
    case: str
    comparisons: int


def prove(encoder: Encoder, run: GraphRun, tokens: int) -> Proof:
    """Compare the vectors of a graph with those of the encoder.

    Args:
        encoder: on the CPU, in float32.
        run: see `onnx_graph.GraphRun`.
        tokens: largest number of tokens of a pass. Longer texts are cut to it.

    Raises:
        InputError: a vector differs too much. The message names its text.
    """
    cases, rows = zip(*cases_of(encoder, tokens), strict=True)
    with evaluation_mode(encoder):
        wanted = torch.cat([encoder(encoder.pack([row])) for row in rows]).double().numpy()
    found = [padded_run(run, [row])[0] for row in rows]
    short = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))[:TOGETHER]
    compared = [(cases[i], found[i], wanted[i]) for i in range(len(rows))]
    together = padded_run(run, [rows[i] for i in short])
    compared += [(f"{cases[i]}, in a batch", together[n], wanted[i]) for n, i in enumerate(short)]
    least, case = min((_agreement(own, right), name) for name, own, right in compared)
    if least < BAR:
        raise InputError(
            f"graph: the vector of the text '{case}' has cosine {least:.4f} to the encoder's, and at least {BAR} is needed"
        )
    return Proof(least, case, len(compared))


def prove_once(encoder: Encoder, run: GraphRun, file: Path, tokens: int) -> Proof:
    """Compare as `prove` does, or some texts in one batch if an earlier process has compared all.

    The earlier proof counts if weights, graph, code, libraries and CPU are the same, see
    `encoder.measured`.

    Args:
        encoder: on the CPU, in float32.
        run: see `onnx_graph.GraphRun`.
        file: the graph, an .xml file. A .bin file is next to it.
        tokens: largest number of tokens of a pass.

    Raises:
        InputError: a vector differs too much. The message names its text.
    """
    cases = cases_of(encoder, tokens)
    entry = measured.KeptMeasurement(
        "graph",
        {
            "encoder": measured.identity(encoder),
            "texts": measured.tokens_of([row for _, row in cases]),
            "openvino": [*bare_graph.runtime(), torch.get_num_threads()],
            "graph": [file_sha256(each) for each in (file, file.with_suffix(".bin"))],
        },
    )
    if (stored := entry.read()) is not None:
        short = sorted(cases, key=lambda case: len(case[1].ids))[:TOGETHER]
        rows = [row for _, row in short]
        with evaluation_mode(encoder):
            wanted = encoder(encoder.pack(rows)).double().numpy()
        pairs = zip(padded_run(run, rows), wanted)
        if min(_agreement(own, right) for own, right in pairs) >= BAR:
            return Proof(stored["least"], stored["case"], stored["comparisons"])
        entry.refuse("does not fit the vectors of this process")
    found = prove(encoder, run, tokens)
    entry.write(found._asdict())
    return found


def padded_run(run: GraphRun, rows: Sequence[TokenRow]) -> np.ndarray:
    """Compute the vectors (N, D) of rows as one batch, with padding at the right."""
    length = max(2, *(len(row.ids) for row in rows))  # graphs are traced for two tokens and more
    ids = np.zeros((len(rows), length), dtype=np.int64)
    mask, pool = np.zeros_like(ids), np.zeros_like(ids)
    for place, row in enumerate(rows):
        size = len(row.ids)
        ids[place, :size], mask[place, :size], pool[place, :size] = row.ids, 1, row.pool
    return run(ids, mask, pool)


def _agreement(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the cosine, or less if the lengths differ more, or -1 if a number is not finite."""
    if not np.isfinite(found).all():
        return -1.0
    distance = np.linalg.norm(found - wanted) / max(float(np.linalg.norm(wanted)), 1e-30)
    return min(cosine(found, wanted), 1 - float(distance) ** 2 / 2)


def cases_of(encoder: Encoder, tokens: int) -> list[tuple[str, TokenRow]]:
    """Return the cases with their rows, cut to `tokens`."""
    found = [(case, encoder.tokenize([text], prompt="")[0]) for case, text in TEXTS.items()]
    found.append(("prompt of a pair", encoder.tokenize([_PAIR])[0]))
    found += [
        (f"prompt {name}", encoder.tokenize([SAMPLE], prompt=encoder.prompt(prompt_name=name))[0])
        for name in encoder.prompts
    ]
    cut = [
        (case, TokenRow(row.ids[:tokens], row.pool[:tokens], row.offsets[:tokens]))
        for case, row in found
        if not row.blocks
    ]
    return [(case, row) for case, row in cut if any(row.pool)]
