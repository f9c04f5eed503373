"""An OpenVINO graph with int8 weights: chooses the form of each layer, and measures the vectors.

A group of linear layers with one input has one of three forms:

    one      weights have a scale for each `WIDE` numbers of a row. OpenVINO rounds the inputs too,
             with a scale for each `WIDE` numbers of a token, and multiplies whole numbers.
    two      weights have a scale for each `NARROW` numbers, and the inputs stay float32.
    float32  nothing is rounded.

OpenVINO 2026.4 rounds the inputs of a layer only if a whole group of them has one scale of the
weights. So the size of the blocks chooses the form. If it rounded more or less than it is expected
to, the measured cosines would say so.

What each group loses is estimated as for `bothways.encoder.int8`, with the roundings above.

Letters: N outputs, T tokens, K inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from bothways.attention.stock import evaluation_mode
from bothways.backbone.linears.shared_input import linears_of
from bothways.digest import file_sha256
from bothways.encoder import measured
from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.encoder.int8.choice import LEAST, MEAN, Form, HeldCosines, settle
from bothways.encoder.int8.effects import measure_effects
from bothways.encoder.int8.quantize import tokenized
from bothways.encoder.int8.samples import divided
from bothways.encoder.texts.tokenization import Text
from bothways.errors import InputError
from bothways.exports.graphs.int8_weights import rounded
from bothways.exports.graphs.onnx_graph import GraphRun
from bothways.exports.graphs.short import bare_graph
from bothways.exports.graphs.short.graph_proof import TOGETHER, cases_of, padded_run

WIDE, NARROW = 64, 32
"""Numbers with one scale, in the forms "one" and "two"."""

COSTS: Mapping[Form, float] = MappingProxyType({"one": 1.0, "two": 2.0, "float32": 3.2})
"""Time of a product of 10 rows with the matrices of SmolLM2-135M (Xeon with VNNI), by form."""

_SHARE = 0.6
"""Share of the allowed losses that the texts which choose may have. They include those of
`graph_proof`, which are hard."""


@dataclass(frozen=True)
class GraphAccount(HeldCosines):
    """What int8 did to a graph. `str(account)` is a line.

    Args:
        shares: for each form, its share of the weights, from 0 to 1.
        cosines: of each held text's vector to that of the float32 encoder.
    """

    shares: dict[Form, float]
    cosines: list[float]

    def __str__(self) -> str:
        """Write the line."""
        one, two, rest = (f"{self.shares.get(form, 0):.0%}" for form in COSTS)
        return (
            f"{one} of the weights are int8 with int8 inputs, {two} with float32 inputs, {rest} are float32; cosine to float32 on "
            f"{len(self.cosines)} held texts: mean {self.mean:.4f}, least {self.least:.4f}"
        )


def open_run(
    file: Path,
    encoder: Encoder,
    threads: int,
    tokens: int,
    texts: Iterable[Text] | None = None,
    *,
    identity: str | None = None,
) -> tuple[GraphRun, GraphAccount]:
    """Open a graph with int8 weights, chosen so that the vectors keep their directions.

    What was measured is kept in the user's cache folder, see `encoder.measured`. A later process
    with the same encoder and texts makes the same choice from it, and compares a few texts again.

    Args:
        file: see `bare_graph.open_run`.
        encoder: in float32, on the CPU. It is not changed.
        threads: number of threads.
        tokens: largest number of tokens of a pass.
        texts: some of the texts that it will encode, in addition to a built-in set.
        identity: of the encoder, see `measured.identity`. If None, it is computed.

    Returns:
        The graph's function, see `bare_graph.open_run`, and what was measured.

    Raises:
        InputError: no choice keeps the vectors.
    """
    chosen, held = divided(texts)
    cases = [row for _, row in cases_of(encoder, tokens)]
    rows = {False: [*tokenized(encoder, chosen), *cases], True: tokenized(encoder, held)}
    entry = measured.KeptMeasurement(
        "int8-graph",
        {
            "encoder": measured.identity(encoder) if identity is None else identity,
            "texts": [measured.tokens_of(rows[kind]) for kind in (False, True)],
            "openvino": bare_graph.runtime(),
            "graph": [file_sha256(each) for each in (file, file.with_suffix(".bin"))],
        },
    )
    opening = _Opening(file, encoder, threads)
    if (stored := entry.read()) is not None:
        run = opening(stored["groups"], stored["forms"])
        if _together(encoder, run, rows[True]) >= LEAST:
            return run, GraphAccount(stored["shares"], stored["cosines"])
        entry.refuse("does not fit the vectors of this process")
    run, account, forms, groups = _measured(encoder, opening, rows, tokens)
    found = {"groups": groups, "forms": forms, "shares": account.shares, "cosines": account.cosines}
    entry.write(found)
    return run, account


class _Opening:
    """Opens a graph of an encoder with some forms of its layers."""

    def __init__(self, file: Path, encoder: Encoder, threads: int) -> None:
        self.file, self.encoder, self.threads = file, encoder, threads
        self.layers = linears_of(encoder.backbone)

    def __call__(self, groups: Sequence[Sequence[str]], forms: Sequence[Form]) -> GraphRun:
        blocks = _blocks(self.layers, groups, forms)
        return bare_graph.open_run(self.file, self.encoder, self.threads, blocks, WIDE)


def _measured(
    encoder: Encoder, opening: _Opening, rows: Mapping[bool, Sequence[TokenRow]], tokens: int
) -> tuple[GraphRun, GraphAccount, list[Form], list[list[str]]]:
    """Choose the forms by the losses of some texts, and open the graph that keeps the held texts.

    Args:
        encoder: see `open_run`.
        opening: opens the graph.
        rows: the texts that choose, and by True the held ones.
        tokens: largest number of tokens of a pass.

    Returns:
        The graph's function, the account, and the forms of the groups of layers.
    """
    with evaluation_mode(encoder):
        wanted = {kind: _vectors(encoder, each) for kind, each in rows.items()}
        effects = measure_effects(encoder, rows[False], changes)
    made: list[GraphRun] = []

    def install(forms: Sequence[Form]) -> None:
        made.clear()  # frees the memory of the last try
        made.append(opening(effects.groups, forms))

    def cosines(kind: bool) -> np.ndarray:
        return _cosines(_graph_vectors(made[0], rows[kind], tokens), wanted[kind])

    forms, found = settle(effects, install, cosines, COSTS, _SHARE)
    shares = Counter[Form]()
    for form, size in zip(forms, effects.sizes):
        shares[form] += int(size)
    total = max(1, sum(shares.values()))
    account = GraphAccount(
        {form: size / total for form, size in shares.items()}, [float(each) for each in found]
    )
    least = _together(encoder, made[0], rows[True])
    if not account.ok or not least >= LEAST:
        raise InputError(
            f"graph: in int8 its vectors have a mean cosine of {account.mean:.4f} to float32 (at least {MEAN}) and a least one of "
            f"{min(account.least, least):.4f} (at least {LEAST}); leave quantize or graph out"
        )
    return made[0], account, forms, effects.groups


def _together(encoder: Encoder, run: GraphRun, held: Sequence[TokenRow]) -> float:
    """Return the least cosine to float32 of some held texts in one padded batch."""
    few = held[:TOGETHER]
    with evaluation_mode(encoder):
        wanted = _vectors(encoder, few)
    return float(_cosines(padded_run(run, few), wanted).min())


def _vectors(encoder: Encoder, rows: Sequence[TokenRow]) -> np.ndarray:
    # in one pass if that is possible, because each pass reads all weights
    parts = [rows] if encoder.execution == "packed" else [[row] for row in rows]
    found: np.ndarray = torch.cat([encoder(encoder.pack(part)) for part in parts]).double().numpy()
    return found


def _graph_vectors(run: GraphRun, rows: Sequence[TokenRow], tokens: int) -> np.ndarray:
    """Compute vectors (N, D) in padded batches of at most `tokens`, in few passes."""
    batches: list[list[int]] = []
    for index in sorted(range(len(rows)), key=lambda place: len(rows[place].ids)):
        length = max(2, len(rows[index].ids))
        if not batches or (len(batches[-1]) + 1) * length > tokens:
            batches.append([])
        batches[-1].append(index)
    vectors: dict[int, np.ndarray] = {}
    for batch in batches:
        vectors |= zip(batch, padded_run(run, [rows[index] for index in batch]))
    return np.stack([vectors[index] for index in range(len(rows))])


def _cosines(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosines: np.ndarray = (found * wanted).sum(1) / np.maximum(lengths, 1e-30)
    finite: np.ndarray = np.nan_to_num(cosines, nan=-1.0, posinf=-1.0, neginf=-1.0)
    return finite


def _blocks(
    layers: Mapping[str, nn.Linear], groups: Sequence[Sequence[str]], forms: Sequence[Form]
) -> dict[str, int]:
    """Return the size of the blocks of each weight that is rounded, by its name in a graph."""
    found = {}
    for names, form in zip(groups, forms):
        for name in names:
            if size := block(form, layers[name].in_features):
                found[f"backbone.{name}.weight"] = size
    return found


def block(form: Form, inputs: int) -> int:
    """Return the numbers of a row with K inputs that have one scale, or 0 for float32.

    If K cannot be divided into blocks, a row gets the next finer form.
    """
    if form == "one" and inputs % WIDE == 0:
        return WIDE
    return NARROW if form != "float32" and inputs % NARROW == 0 else 0


@torch.no_grad()
def changes(layer: nn.Linear, given: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the form "one" adds to a layer's output (T, N): of the weight, and of the input.

    For the form "two", the first is an upper bound.
    """
    rows = given.flatten(0, -2)
    size = block("one", layer.in_features)
    weight = _rounded(layer.weight, size) if size else layer.weight
    inputs = _rounded(rows, WIDE) if size == WIDE else rows
    linear = nn.functional.linear
    return linear(rows, weight - layer.weight), linear(inputs - rows, weight)


def _rounded(rows: Tensor, size: int) -> Tensor:
    """Round rows (M, K) to int8 with a scale for each `size` numbers, and multiply again."""
    whole, scales = rounded(rows.detach().numpy()[None], size)
    return torch.from_numpy((whole * scales).reshape(rows.shape))
