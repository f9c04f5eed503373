"""No vector that is none leaves the library: NaN, infinity, zeros of an overflow; by every way out,
and not into a saved folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.cli.app import main
from bothways.encoder.encoder import Encoder
from bothways.encoder.finite import NotFinite, check_vectors, comparable
from bothways.errors import InputError
from tiny import SENTENCES, tiny_llama

TEXTS = list(SENTENCES[:3])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "base", hidden_size=64, intermediate_size=256)


def nan(encoder: Encoder) -> None:
    encoder.backbone.layers[0].mlp.up_proj.weight[0, 0] = float("nan")


def infinite(encoder: Encoder) -> None:
    encoder.backbone.norm.weight[3] = float("inf")


def huge(encoder: Encoder) -> None:
    for weight in encoder.backbone.parameters():
        weight.mul_(1e30)


def last_norm(encoder: Encoder) -> None:
    encoder.backbone.norm.weight.mul_(1e25)


DAMAGE = [nan, infinite, huge, last_norm]
WAYS: dict[str, Callable[[Encoder], Any]] = {
    "encode": lambda encoder: encoder.encode(TEXTS),
    "one text": lambda encoder: encoder.encode(TEXTS[0]),
    "normalised": lambda encoder: encoder.encode(TEXTS, normalize_embeddings=True),
    "tensor": lambda encoder: encoder.encode(TEXTS, convert_to_tensor=True),
    "query": lambda encoder: encoder.encode_query(TEXTS),
    "stream": lambda encoder: list(encoder.encode_stream(iter(TEXTS))),
    "chunks": lambda encoder: encoder.encode_chunks(TEXTS, 4),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("way", WAYS)
def test_no_way_out(base: Path, damage: Callable[[Encoder], None], way: str) -> None:
    encoder = bw.convert(base, dtype="float32", device="cpu")
    WAYS[way](encoder)
    with torch.no_grad():
        damage(encoder)
    with pytest.raises(InputError, match=r"text \d .*its vector holds .* in float32; the weights are damaged or far too large"):
        WAYS[way](encoder)


def test_states_of_tokens(base: Path) -> None:
    encoder = bw.convert(base, dtype="float32", device="cpu")
    encoder.encode_tokens(TEXTS)
    with torch.no_grad():
        nan(encoder)
    with pytest.raises(NotFinite, match=r"text \d"):
        encoder.encode_tokens(TEXTS)


def test_a_damaged_encoder_is_not_saved(base: Path, tmp_path: Path) -> None:
    encoder = bw.convert(base, dtype="float32", device="cpu")
    with torch.no_grad():
        encoder.backbone.layers[0].mlp.up_proj.weight.mul_(1e7)
    encoder.save(tmp_path / "fine")
    with pytest.raises(NotFinite, match=r"save: the weight .*up_proj.* in float16; .* use bfloat16 or float32"):
        encoder.save(tmp_path / "half", dtype="float16")
    with torch.no_grad():
        nan(encoder)
    with pytest.raises(NotFinite, match=r"save: the weight layers\.0\.mlp\.up_proj\.weight holds NaN"):
        encoder.save(tmp_path / "broken")
    assert not (tmp_path / "half").exists() and not (tmp_path / "broken").exists()


@pytest.mark.parametrize("name", ["v.npy", "v.parquet"])
def test_the_command_leaves_no_file(base: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = bw.convert(base, dtype="float32", device="cpu")
    with torch.no_grad():
        for layer in encoder.backbone.layers:
            layer.mlp.up_proj.weight.mul_(80)
            layer.mlp.gate_proj.weight.mul_(80)
            layer.mlp.down_proj.weight.mul_(10)
    encoder.save(tmp_path / "encoder")
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    command = [
        "encode",
        str(tmp_path / "encoder"),
        str(tmp_path / "texts.jsonl"),
        "--out",
        str(tmp_path / name),
        "--device",
        "cpu",
    ]
    with pytest.raises(SystemExit) as caught:
        main([*command, "--dtype", "float16"])
    assert caught.value.code == 2
    assert "in float16; numbers beyond 65504 overflow there, so use bfloat16 or float32" in capsys.readouterr().err
    assert not (tmp_path / name).exists()
    main([*command, "--dtype", "float32"])
    assert (tmp_path / name).exists()
    with pytest.raises(SystemExit):
        main(
            [
                "search",
                str(tmp_path / "encoder"),
                str(tmp_path / "texts.jsonl"),
                "a cat",
                "--device",
                "cpu",
                "--dtype",
                "float16",
            ]
        )
    assert "use bfloat16 or float32" in capsys.readouterr().err


def test_what_is_finite_passes() -> None:
    vectors = np.array([[1e-30, 0], [1e18, -1e18], [0, -1]], dtype=np.float32)
    check_vectors(vectors, [0, 1, 2], ["a", "b", "c"], torch.float32)
    check_vectors(np.zeros((0, 4), dtype=np.float32), [], [], torch.float32)
    check_vectors(np.zeros((2, 4), dtype=np.float32), [0, 1], ["a", "b"], torch.float32, zeros=False)
    with pytest.raises(NotFinite, match=r"text 8 \('c'\): its vector holds nothing but zeros"):
        check_vectors(np.array([[1.0], [0.0]], dtype=np.float32), [7, 8], ["b", ("in", "c")], torch.float32)


def test_usable_says_of_each_vector_what_the_check_refuses() -> None:
    rows = np.ones((6, 3), dtype=np.float32)
    rows[1, 0], rows[2, 1], rows[3], rows[4] = np.nan, np.inf, 0, 3e38  # the length of the last one overflows
    assert comparable(rows).tolist() == [True, False, False, False, False, True]
    for number, good in enumerate(comparable(rows)):
        if good:
            check_vectors(rows[number : number + 1], [number], ["text"], torch.float32)
        else:
            with pytest.raises(NotFinite, match=f"text {number} "):
                check_vectors(rows[number : number + 1], [number], ["text"], torch.float32)
