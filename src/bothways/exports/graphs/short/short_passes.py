"""The `graph` of an encoder: OpenVINO computes its short requests, torch all others.

For few rows, torch's float32 product spends more time on rearranging a weight than on multiplying.
A compiled graph rearranges it once, when it is opened. Many rows take the same time either way
(docs/performance.md, "One query"), so a graph gets requests of up to `TOKENS` tokens.

A graph is used only after it gave the encoder's own vectors (`graph_proof`), and no longer if the
encoder is trained or changed.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bothways.attention.all_modules import all_modules
from bothways.encoder import measured
from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.encoder.int8 import quantize as int8
from bothways.encoder.module import EncoderModule
from bothways.encoder.texts.tokenization import Text
from bothways.errors import BothwaysError, InputError
from bothways.exports.graphs.onnx_graph import GraphRun
from bothways.exports.graphs.padded_encoder import POOLINGS
from bothways.exports.graphs.short import bare_graph, graph_cache, int8_graph
from bothways.exports.graphs.short.graph_proof import Proof, padded_run, prove_once
from bothways.foreign import one_line
from bothways.nearest import meant

KINDS = ("auto", "openvino", "none")
"""The values of `graph`."""

TOKENS = 64
"""Largest number of tokens of a request that a graph computes, padding included."""

PATIENCE = 200
"""Short requests that "auto" waits for before it opens a graph. Opening and proving the graph of
SmolLM2-135M takes 16 s, about as long as 100 requests of 10 tokens, and it saves at most half of
each request.
"""

log = logging.getLogger("bothways")


class ShortPasses:
    """Computes the short requests of one encoder with a graph.

    Args:
        usable: if False, it computes nothing.

    Attributes:
        tokens: largest number of tokens of a request, padding included.
        proof: what was compared when a float32 graph was opened, or None.
        account: what was measured when an int8 graph was opened, or None.
    """

    tokens = TOKENS

    def __init__(self, usable: bool = True) -> None:
        self._usable = usable
        self._left = PATIENCE
        self._run: GraphRun | None = None
        self._parts: _Parts | None = None
        self._lock = threading.Lock()
        self.proof: Proof | None = None
        self.account: int8_graph.GraphAccount | None = None

    @property
    def waits(self) -> bool:
        """Whether torch computes all requests so far, because there were too few for "auto"."""
        return self._usable and self._run is None

    def __reduce__(self) -> tuple[type[ShortPasses], tuple[bool]]:
        """Leave the graph out of a copy of the encoder, which has weights of its own."""
        return ShortPasses, (False,)

    def __call__(self, encoder: EncoderModule, rows: Sequence[TokenRow]) -> np.ndarray | None:
        """Compute the vectors (N, D) float32 of a request, not normalized.

        Returns:
            None if torch must compute them: the request is long, or there is no graph (yet).
        """
        if not self._usable or not _fits(encoder, rows):
            return None
        if self._run is None and not self._opens(encoder):
            return None
        run, parts = self._run, self._parts
        if run is None or parts is None:  # another thread has stopped it
            return None
        if not parts.unchanged():
            self._stop("the encoder has changed since its graph was proved")
            return None
        return padded_run(run, rows)

    def _opens(self, encoder: EncoderModule) -> bool:
        """Count a request, and open the stored graph when there were enough of them."""
        if not self._lock.acquire(blocking=False):
            return False  # another thread is opening it
        try:
            self._left -= 1
            if self._run is None and self._usable and self._left <= 0:
                assert isinstance(encoder, Encoder)
                try:
                    file = graph_cache.stored(graph_cache.folder_of(encoder, TOKENS))
                    if file is None:
                        self._usable = False
                    else:
                        self.open(encoder, file)
                except BothwaysError as error:
                    self._stop(str(error).removeprefix("graph: "))
            return self._run is not None
        finally:
            self._lock.release()

    def open(self, encoder: Encoder, file: Path) -> None:
        """Open the graph in a file, and prove it.

        Raises:
            InputError: it cannot be run, or gives other vectors than the encoder.
        """
        start = time.monotonic()
        with _one_line():
            run = bare_graph.open_run(file, encoder, torch.get_num_threads())
            self.proof = prove_once(encoder, run, file, TOKENS)
        self._parts, self._run = _Parts(encoder), run
        log.info(
            "requests of up to %d tokens run in an OpenVINO graph, opened in %.1f s: equal on %d texts (least cosine %.6f), "
            "%.0f MB more memory",
            *(TOKENS, time.monotonic() - start, self.proof.comparisons, self.proof.least),
            _copied(encoder) / 1e6,
        )

    def open_int8(
        self, encoder: Encoder, file: Path, texts: Sequence[Text] | None, identity: str
    ) -> None:
        """Open the graph in a file with int8 weights, and measure it, or use what was measured.

        The encoder is in float32. When its own layers are int8 too, call `watch`. Its identity is
        that of `encoder.measured`.

        Raises:
            InputError: it cannot be run, or loses more of the vectors than int8 may.
        """
        start = time.monotonic()
        with _one_line():
            self._run, self.account = int8_graph.open_run(
                file, encoder, torch.get_num_threads(), TOKENS, texts, identity=identity
            )
        self.watch(encoder)
        log.info(
            "requests of up to %d tokens run in an OpenVINO graph, opened in %.1f s: %s",
            *(TOKENS, time.monotonic() - start, self.account),
        )

    def watch(self, encoder: Encoder) -> None:
        """Note the encoder as it is now. A later change stops the graph."""
        self._parts = _Parts(encoder)

    def _stop(self, reason: str) -> None:
        self._usable, self._run, self._parts = False, None, None
        log.warning("no OpenVINO graph from here on: %s", reason)


@contextmanager
def _one_line() -> Iterator[None]:
    """Raise InputError for the errors of OpenVINO, which has classes of its own."""
    try:
        yield
    except BothwaysError:
        raise
    except Exception as error:
        raise InputError(
            f"graph: OpenVINO cannot run it here ({type(error).__name__}: {one_line(str(error), 200)}); use graph=None"
        ) from error


class _Parts:
    """The modules and weights of an encoder as they were when its graph was opened."""

    def __init__(self, encoder: EncoderModule) -> None:
        self._held = [
            (places, name, value)
            for module in all_modules(encoder)
            for places in (module._modules, module._parameters)
            for name, value in places.items()
        ]
        self._weights = [each for _, _, each in self._held if isinstance(each, torch.Tensor)]
        self._versions = [_version(each) for each in self._weights]

    def unchanged(self) -> bool:
        """Return whether all are the same objects, and no weight was written to."""
        return all(places.get(name) is value for places, name, value in self._held) and (
            [_version(each) for each in self._weights] == self._versions
        )


def _version(weight: torch.Tensor) -> int:
    return 0 if weight.is_inference() else weight._version


def _fits(encoder: EncoderModule, rows: Sequence[TokenRow]) -> bool:
    longest = max(len(row.ids) for row in rows)
    return (
        len(rows) * max(2, longest) <= TOKENS
        and encoder.direction == "bidirectional"
        and not any(row.blocks for row in rows)
    )


def _copied(encoder: Encoder) -> int:
    """Return the bytes of the matrices that OpenVINO copies: all but the embeddings."""
    own = {id(module.weight) for module in encoder.modules() if isinstance(module, nn.Embedding)}
    return sum(
        4 * each.numel() for each in encoder.parameters() if each.ndim > 1 and id(each) not in own
    )


def use_graph(encoder: Encoder, graph: str | None = "auto", *, now: bool = False) -> None:
    """Let an encoder compute its short requests in an OpenVINO graph.

    For example, `use_graph(encoder, "openvino")`. The vectors stay the same: a graph is compared
    with the encoder each time it is opened.

    Args:
        encoder: on the CPU, in float32 and bidirectional.
        graph: "openvino" makes the graph if it is not in the cache, which takes some minutes
            once, and opens it. "auto" opens the one in the cache after `PATIENCE` short requests.
            It never makes one, and does nothing if openvino is not installed or the encoder does
            not fit. "none" or None: torch computes everything.
        now: for "auto", open the graph in the cache now, or say how to make one. If it cannot be
            opened, a warning says why. For programs that run long, such as a server.

    Raises:
        InputError: `graph` is unknown. For "openvino" also: the encoder does not fit, or the graph
            gives other vectors.
        UnsupportedFamily: for "openvino", no graph can be made of the family.
        OutputError: for "openvino", the cache cannot be written.
        MissingExtra: for "openvino", openvino is not installed.
    """
    _check(graph)
    if graph in ("none", None):
        vars(encoder).pop("graph", None)
        return
    missing = not installed()
    reason = "openvino is not installed" if missing else _unfit(encoder)
    if reason and graph == "auto":
        log.debug("no OpenVINO graph: %s", reason)
        return
    if missing:
        raise bare_graph.missing()
    if reason:
        raise InputError(f"graph: {reason}")
    made = ShortPasses()
    if graph == "openvino":
        made.open(encoder, _made(encoder))
    elif now and not _opened_now(made, encoder):
        return
    encoder.graph = made


def quantize_with_graph(encoder: Encoder, texts: Iterable[Text] | None = None) -> int8.Account:
    """Compute an encoder in int8, its short requests in an OpenVINO graph with int8 weights.

    Args:
        encoder: on the CPU, in float32 and bidirectional. It is changed, see `int8.quantize`.
        texts: some of the texts that it will encode, in addition to a built-in set.

    Returns:
        What int8 did to the encoder itself. That of the graph is `encoder.graph.account`.

    Raises:
        InputError: the encoder does not fit, or the graph loses more of the vectors than int8 may.
        UnsupportedFamily: no graph can be made of the family.
        OutputError: the cache cannot be written.
        MissingExtra: openvino is not installed.
    """
    if not installed():
        raise bare_graph.missing()
    if reason := _unfit(encoder):
        raise InputError(f"graph: {reason}")
    given = None if texts is None else list(texts)
    int8.check(encoder)
    made, identity = ShortPasses(), measured.identity(encoder)
    made.open_int8(encoder, _made(encoder), given, identity)
    account = int8.quantize(encoder, given, identity=identity)
    made.watch(encoder)
    encoder.graph = made
    return account


def _made(encoder: Encoder) -> Path:
    """Return the file of an encoder's graph. If it is not stored, make it."""
    name = encoder.folder.name if encoder.folder is not None else "encoder"
    return graph_cache.ensure(encoder, TOKENS, name)


def _opened_now(made: ShortPasses, encoder: Encoder) -> bool:
    """Open the graph in the cache, or say why there is none."""
    file = graph_cache.stored(graph_cache.folder_of(encoder, TOKENS))
    if file is None:
        log.info("an OpenVINO graph would answer short requests faster: graph='openvino'")
        return False
    try:
        made.open(encoder, file)
    except BothwaysError as error:
        log.warning("no OpenVINO graph: %s", str(error).removeprefix("graph: "))
        return False
    return True


def installed() -> bool:
    """Return whether openvino is installed."""
    return importlib.util.find_spec("openvino") is not None


def place_of(
    graph: str | None, device: str | torch.device, dtype: str | torch.dtype
) -> tuple[str | torch.device, str | torch.dtype]:
    """Return the device and the dtype that an encoder is loaded with for a graph.

    If "openvino" is asked for, "auto" means "cpu" and "float32". Else both stay as they are.

    Raises:
        InputError: `graph` is unknown.
        MissingExtra: "openvino" is not installed. So this is said before a model is loaded.
    """
    _check(graph)
    if graph != "openvino":
        return device, dtype
    if not installed():
        raise bare_graph.missing()
    return "cpu" if device == "auto" else device, "float32" if dtype == "auto" else dtype


def _check(graph: str | None) -> None:
    if graph not in (*KINDS, None):
        raise InputError(
            f"graph: {meant(graph, KINDS)}must be {', '.join(KINDS[:-1])} or {KINDS[-1]} (got {graph!r})"
        )


def _unfit(encoder: Encoder) -> str:
    """Return why an encoder cannot have a graph, or ""."""
    if encoder.quantized is not None:
        return "is opened while the encoder is in float32, and it is in int8; load it with quantize='int8' and graph='openvino'"
    if encoder.device.type != "cpu":
        return f"runs on a CPU, and the encoder is on {encoder.device}; use device='cpu'"
    kinds = {p.dtype for p in encoder.parameters() if p.is_floating_point()}
    if kinds != {torch.float32}:
        named = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        return f"runs in float32, and the encoder is in {named}; use dtype='float32'"
    if encoder.direction != "bidirectional":
        return "needs a bidirectional encoder, and this one is causal"
    mode = str(getattr(encoder.pooling, "mode", type(encoder.pooling).__name__))
    if encoder.reads != "last" or mode not in POOLINGS:
        return f"does not have {mode} pooling; it has {', '.join(POOLINGS)}"
    return ""
