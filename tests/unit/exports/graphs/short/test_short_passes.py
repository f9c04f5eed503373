"""The graph of an encoder, with torch in place of OpenVINO: which requests it gets, and when it is
used at all.

`test_bare_graph.py` runs OpenVINO itself.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import bothways as bw
from bothways.cli.app import app
from bothways.encoder.int8 import quantize as int8
from bothways.errors import InputError, MissingExtra
from bothways.evaluation.model_identity import model_fingerprint
from bothways.exports.graphs import exported
from bothways.exports.graphs.padded_encoder import PaddedEncoder, plain_attention
from bothways.exports.graphs.short import bare_graph, graph_cache, int8_graph, short_passes
from bothways.exports.graphs.short.short_passes import PATIENCE, TOKENS, ShortPasses, use_graph
from bothways.pooling import Pooling
from bothways.serving.engine import Engine
from tiny import tiny_llama

SHORT = ["a cat", ("Find: ", "a cat sits"), "오늘은 날씨가"]
LONG = "The river runs from the old mountain to the sea in 1984 or 2024. " * 6


class Runtime:
    """Runs graphs by torch, and notes the shapes of the calls.

    Attributes:
        written: graphs that were made.
        shapes: (texts, tokens) of each call.
        off: is added to every vector, as a broken runtime would.
        opened: graphs that were opened.
        blocks: of the graph that was opened last.
    """

    def __init__(self) -> None:
        self.written = 0
        self.shapes: list[tuple[int, ...]] = []
        self.off = 0.0
        self.opened = 0
        self.blocks: dict[str, int] | None = None

    def write(self, encoder: bw.Encoder, file: Path, tokens: int, name: str) -> None:
        file.write_text("a graph")
        file.with_suffix(".bin").write_text("its numbers")
        self.written += 1

    def open_run(
        self, file: Path, encoder: bw.Encoder, threads: int, blocks: dict[str, int] | None = None, group: int = 0
    ) -> Any:
        assert file.read_text() == "a graph"
        held = copy.deepcopy(encoder)  # as OpenVINO, which copies the matrices
        self.blocks = blocks
        self.opened += 1

        def run(*arrays: np.ndarray) -> np.ndarray:
            self.shapes.append(arrays[0].shape)
            with plain_attention(held), torch.no_grad():
                return PaddedEncoder(held)(*map(torch.from_numpy, arrays))[-1].numpy() + self.off

        return run


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runtime:
    made = Runtime()
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(short_passes, "installed", lambda: True)
    monkeypatch.setattr(graph_cache, "version", lambda name: "1")
    monkeypatch.setattr(bare_graph, "write", made.write)
    monkeypatch.setattr(bare_graph, "open_run", made.open_run)
    monkeypatch.setattr(bare_graph, "runtime", lambda: ["1", "a CPU"])
    return made


def entries(tmp_path: Path, kind: str) -> list[Path]:
    return sorted((tmp_path / "cache" / "measured").glob(f"{kind}-*.json"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True})
    encoder = bw.convert(base, dtype="float32", device="cpu", prompts={"query": "Find a text about this:\n"})
    encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder"


def opened(folder: Path, graph: str | None) -> bw.Encoder:
    return bw.load(folder, graph=graph, device="cpu", dtype="float32")


def near(a: Any, b: Any) -> bool:
    return bool(np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-5)


def test_short_requests_alone_run_in_the_graph(folder: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="bothways")
    plain = opened(folder, None)
    encoder = bw.load(folder, graph="openvino")
    assert str(encoder.dtype) == "torch.float32" and runtime.written == 1
    assert "run in an OpenVINO graph" in caplog.text and "least cosine 1.0" in caplog.text
    runtime.shapes.clear()
    for texts, options in (
        (SHORT, {}),
        (SHORT[0], {}),
        ("x", {}),
        (SHORT[:1], {"prompt_name": "query"}),
        (SHORT, {"truncate_dim": 8, "normalize_embeddings": True}),
    ):
        before = len(runtime.shapes)
        assert near(encoder.encode(texts, **options), plain.encode(texts, **options)), (texts, options)
        assert len(runtime.shapes) == before + 1
    assert (1, 2) in runtime.shapes or min(tokens for _, tokens in runtime.shapes) >= 2
    assert max(texts * tokens for texts, tokens in runtime.shapes) <= TOKENS
    runtime.shapes.clear()
    for texts, options in ((LONG, {}), ([LONG, "x"], {}), (["x y z"] * 40, {}), (SHORT, {"batch_size": 2})):
        assert near(encoder.encode(texts, **options), plain.encode(texts, **options))
    assert near(encoder.encode_tokens("a cat").states, plain.encode_tokens("a cat").states)
    assert runtime.shapes == [], "long requests, and the passes of long ones, are torch's"


def test_auto_waits_for_many_short_requests_and_makes_nothing(
    folder: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="bothways")
    encoder = opened(folder, "auto")
    assert encoder.graph.waits and bw.doctor(encoder, quick=True).ok
    for _ in range(PATIENCE + 3):
        encoder.encode("a cat")
    assert runtime.shapes == [] and runtime.written == 0 and not (folder.parent / "cache").exists()
    opened(folder, "openvino")
    runtime.shapes.clear()
    encoder = opened(folder, "auto")
    for _ in range(PATIENCE - 1):
        encoder.encode("a cat")
        encoder.encode(LONG)
    assert runtime.shapes == []
    caplog.clear()
    wanted = opened(folder, None).encode("a cat")
    assert near(encoder.encode("a cat"), wanted) and runtime.shapes[-1][0] == 1
    assert caplog.text.count("run in an OpenVINO graph") == 1 and runtime.written == 1


def test_a_server_opens_a_stored_graph_at_once(folder: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="bothways")
    encoder = opened(folder, None)
    use_graph(encoder, "auto", now=True)
    assert encoder.graph is None and runtime.written == 0 and "graph='openvino'" in caplog.text
    opened(folder, "openvino")
    runtime.shapes.clear()
    use_graph(encoder, "auto", now=True)
    runtime.shapes.clear()
    encoder.encode("a cat")
    assert runtime.shapes == [(1, 4)]


def test_none_means_torch(folder: Path, runtime: Runtime) -> None:
    opened(folder, "openvino")
    runtime.shapes.clear()
    for graph in (None, "none"):
        encoder = opened(folder, graph)
        for _ in range(PATIENCE + 1):
            encoder.encode("a cat")
    assert runtime.shapes == []


def test_a_wrong_graph_is_not_used(folder: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    opened(folder, "openvino")
    runtime.off = 0.5
    with pytest.raises(InputError, match=r"graph: the vector of the text '.*' has cosine .* at least 0\.9999"):
        opened(folder, "openvino")
    runtime.off = float("nan")
    with pytest.raises(InputError, match="graph: the vector of the text"):
        opened(folder, "openvino")
    encoder, plain = opened(folder, "auto"), opened(folder, None)
    for _ in range(PATIENCE + 2):
        assert near(encoder.encode("a cat"), plain.encode("a cat"))
    assert caplog.text.count("no OpenVINO graph from here on: the vector of the text") == 1
    use_graph(plain, "auto", now=True)
    assert plain.graph is None and "no OpenVINO graph: the vector of the text" in caplog.text


def _write(encoder: bw.Encoder) -> None:
    with torch.no_grad():
        next(encoder.backbone.parameters()).mul_(1.5)


def _replace(encoder: bw.Encoder) -> None:
    layer: Any = encoder.backbone.layers[1].mlp  # type: ignore[union-attr, index]
    old = layer.up_proj
    layer.up_proj = nn.Linear(old.in_features, old.out_features, bias=False)


def _pool(encoder: bw.Encoder) -> None:
    encoder.pooling = Pooling("max")


@pytest.mark.parametrize("change", [_write, _replace, _pool])
def test_a_changed_encoder_does_not_use_its_old_graph(
    folder: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture, change: Any
) -> None:
    encoder = opened(folder, "openvino")
    encoder.encode("a cat")
    plain = copy.deepcopy(encoder)
    use_graph(plain, None)
    change(encoder)
    plain.load_state_dict(encoder.state_dict())
    plain.pooling = encoder.pooling
    assert near(encoder.encode("a cat"), plain.encode("a cat"))
    assert caplog.text.count("the encoder has changed") == 1
    runtime.shapes.clear()
    encoder.encode("a cat")
    assert runtime.shapes == []


def test_a_copy_has_no_graph_and_the_fingerprint_stays(folder: Path, runtime: Runtime) -> None:
    plain, encoder = opened(folder, None), opened(folder, "openvino")
    assert model_fingerprint(plain) == model_fingerprint(encoder)
    other = copy.deepcopy(encoder)
    runtime.shapes.clear()
    _write(other)
    assert not near(other.encode("a cat"), encoder.encode("a cat")) and len(runtime.shapes) == 1
    use_graph(encoder, "none")
    assert encoder.graph is None and model_fingerprint(encoder) == model_fingerprint(plain)


def test_encoders_that_do_not_fit(folder: Path, runtime: Runtime, tmp_path: Path) -> None:
    base = tmp_path / "base"
    small = opened(folder, None)
    int8.quantize(small)
    for encoder, reason in (
        (bw.convert(base, dtype="float32", device="cpu", direction="causal"), "this one is causal"),
        (bw.convert(base, dtype="bfloat16", device="cpu"), "the encoder is in bfloat16; use dtype='float32'"),
        (bw.convert(base, dtype="float32", device="cpu", pooling="first_last_avg"), "does not have first_last_avg pooling"),
        (small, "it is in int8; load it with quantize='int8' and graph='openvino'"),
    ):
        use_graph(encoder, "auto", now=True)
        assert encoder.graph is None
        with pytest.raises(InputError, match=f"^graph: .*{reason}"):
            use_graph(encoder, "openvino")
    with pytest.raises(InputError, match=r"graph: did you mean 'openvino'\? must be auto, openvino or none"):
        bw.load(folder, graph="openvin")
    assert runtime.written == 0


def test_int8_has_a_graph_of_its_own(folder: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="bothways")
    encoder = bw.load(folder, graph="openvino", quantize="int8", calibration=iter(["a cat sits on the sill"] * 3))
    assert encoder.quantized is not None and encoder.graph.account.ok and runtime.written == 1
    assert runtime.blocks is not None and "held texts: mean" in caplog.text
    runtime.shapes.clear()
    found = encoder.encode(SHORT[0])
    assert len(runtime.shapes) == 1
    wanted = opened(folder, None).encode(SHORT[0])
    assert float(found @ wanted) / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.98
    encoder.encode(LONG)
    assert len(runtime.shapes) == 1
    encoder.pooling = Pooling("max")
    encoder.encode(SHORT[0])
    assert len(runtime.shapes) == 1 and "the encoder has changed" in caplog.text


def test_a_later_process_measures_an_int8_graph_no_more(
    folder: Path, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BOTHWAYS_MEASURED", "1")
    first = bw.load(folder, graph="openvino", quantize="int8")
    blocks = runtime.blocks
    with monkeypatch.context() as later:
        for module in (int8_graph, int8):
            later.setattr(module, "measure_effects", lambda *_: pytest.fail("measured again"))
        runtime.opened = 0
        runtime.shapes.clear()
        second = bw.load(folder, graph="openvino", quantize="int8")
        assert runtime.opened == 1 and runtime.blocks == blocks
        assert len(runtime.shapes) == 1 and runtime.shapes[0][0] == 3, "some held texts are compared in one batch"
    assert second.graph.account == first.graph.account and second.quantized == first.quantized
    for text in (SHORT[0], LONG):
        assert second.encode(text).tobytes() == first.encode(text).tobytes()
    (stored,) = entries(tmp_path, "int8-graph")
    stored.write_text(stored.read_text().replace("one", "two", 1))
    third = bw.load(folder, graph="openvino", quantize="int8")
    assert runtime.blocks == blocks and third.graph.account == first.graph.account and "is damaged" in caplog.text
    assert len(entries(tmp_path, "int8-graph")) == 1


def test_a_stored_int8_graph_that_does_not_fit(
    folder: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BOTHWAYS_MEASURED", "1")
    bw.load(folder, graph="openvino", quantize="int8")
    runtime.off = 5.0
    with pytest.raises(InputError, match="graph: in int8 its vectors"):
        bw.load(folder, graph="openvino", quantize="int8")
    assert caplog.text.count("does not fit the vectors of this process, so it is measured again") == 1


def test_a_later_process_proves_a_graph_on_some_texts(
    folder: Path, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BOTHWAYS_MEASURED", "1")
    first = opened(folder, "openvino")
    assert len(runtime.shapes) > 10
    runtime.shapes.clear()
    second = opened(folder, "openvino")
    assert [texts for texts, _ in runtime.shapes] == [3] and second.graph.proof == first.graph.proof
    assert second.encode(SHORT[0]).tobytes() == first.encode(SHORT[0]).tobytes()
    (stored,) = entries(tmp_path, "graph")
    stored.write_text(stored.read_text()[:-9])
    runtime.shapes.clear()
    assert opened(folder, "openvino").graph.proof == first.graph.proof
    assert len(runtime.shapes) > 10 and "is damaged, so it is measured again" in caplog.text
    runtime.off = 0.5
    with pytest.raises(InputError, match="graph: the vector of the text"):
        opened(folder, "openvino")


def test_an_int8_graph_that_loses_too_much(folder: Path, runtime: Runtime) -> None:
    runtime.off = 5.0
    with pytest.raises(InputError, match=r"graph: in int8 its vectors have a mean cosine of .* \(at least 0\.995\)"):
        bw.load(folder, graph="openvino", quantize="int8")
    runtime.off = float("nan")
    with pytest.raises(InputError, match=r"graph: in int8 its vectors .* -1\.0000 \(at least 0\.98\)"):
        bw.load(folder, graph="openvino", quantize="int8")


def test_without_openvino(folder: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_passes, "installed", lambda: False)
    assert opened(folder, "auto").graph is None
    monkeypatch.setattr(exported, "load_encoder", lambda *args, **options: pytest.fail("loaded in vain"))
    for options in ({}, {"quantize": "int8"}):
        with pytest.raises(MissingExtra, match=r"openvino, which is not installed; run: pip install 'bothways\[graph\]'"):
            bw.load(folder, graph="openvino", **options)
    done = CliRunner().invoke(app, ["doctor", str(folder), "--quick", "--graph", "openvino"])
    assert isinstance(done.exception, MissingExtra)


def test_the_server_uses_it(folder: Path, runtime: Runtime) -> None:
    encoder, plain = opened(folder, "openvino"), opened(folder, None)
    engine = Engine({"x": encoder}, queue_rows=100, queue_tokens=10_000)
    engine.start()
    try:
        runtime.shapes.clear()
        found = engine.submit("x", encoder.tokenize(["a cat"]), ["a cat"]).future.result(30)
        assert near(found[0], plain.encode("a cat", normalize_embeddings=False)) and runtime.shapes == [(1, 4)]
        rows = encoder.tokenize([LONG])
        engine.submit("x", rows, [LONG]).future.result(30)
        assert len(runtime.shapes) == 1
    finally:
        engine.stop()


def test_verbs(folder: Path, runtime: Runtime, tmp_path: Path) -> None:
    source = tmp_path / "texts.txt"
    source.write_text("a cat\nThe river runs to the sea.\n", encoding="utf-8")
    call = CliRunner().invoke
    asked = ["search", str(folder), str(source), "the sea", "--top", "1", "--dtype", "float32"]
    plain, done = call(app, [*asked, "--graph", "none"]), call(app, [*asked, "--graph", "openvino"])
    assert done.exit_code == 0 and plain.output in done.output and runtime.shapes
    runtime.shapes.clear()
    vectors = tmp_path / "vectors.npy"
    done = call(app, ["encode", str(folder), str(source), "--out", str(vectors), "--graph", "openvino"])
    assert done.exit_code == 0 and runtime.shapes
    wanted = opened(folder, None).encode(["a cat", "The river runs to the sea."], normalize_embeddings=True)
    assert near(np.load(vectors), wanted)
    for more, message in (
        (["--graph", "openvin"], "--graph: did you mean 'openvino'?"),
        (["--graph", "openvino", "--dtype", "bfloat16"], "--graph: runs in float32, and the encoder is in bfloat16"),
    ):
        done = call(app, ["encode", str(folder), str(source), "--out", str(vectors), *more])
        assert isinstance(done.exception, InputError) or done.exit_code == 2
        assert message in str(done.exception) + done.output, done.output
    done = call(app, ["doctor", str(folder), "--quick", "--graph", "openvino"])
    assert done.exit_code == 0 and "the OpenVINO graph of short requests gives the same vectors" in done.output
    done = call(app, ["encode", str(folder), str(source), "--out", str(vectors), "--graph", "openvino", "--quantize", "int8"])
    assert done.exit_code == 0 and "graph: " in done.output and "held texts: mean" in done.output
    done = call(app, ["encode", str(folder), str(source), "--out", str(tmp_path / "shards"), "--graph", "openvino"])
    assert "is for requests of a few texts" in str(done.exception) + done.output


def test_nothing_is_counted_by_an_unusable_one() -> None:
    assert ShortPasses(usable=False)(None, []) is None  # type: ignore[arg-type]
