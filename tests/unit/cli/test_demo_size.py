"""The demo's sizes: chosen by the speed of the machine, or by what a stopped run began with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import bothways as bw
from bothways.cli.demo_size import SIZES, by_name, by_rate, measured_rate, of_run
from bothways.cli.verbs.demo import SEARCHED, demo_recipe
from bothways.errors import InputError
from bothways.evaluation.tasks.stdlib import Stdlib
from tiny import tiny_llama

RECIPES = {size.name: demo_recipe("smollm2-135m", 42, size) for size in SIZES}


def test_fast_machines_get_the_figures_of_the_readme() -> None:
    """Their draws depend on these numbers."""
    assert by_rate(800).name == by_rate(450).name == "full"
    first, second, third = RECIPES["full"].stages
    assert (first.optim.steps, first.batch.size, first.objective.row_length) == (40, 8, 128)
    assert (second.optim.steps, second.batch.size) == (40, 48)
    assert (third.optim.steps, third.batch.size, third.objective.max_length) == (30, 40, 96)
    assert SIZES[0].candidates is None and RECIPES["full"].seed == 42


def test_slower_machines_get_less_work() -> None:
    # two cores: bfloat16 instructions, slow ones of these, slower ones, and AVX2
    assert [by_rate(rate).name for rate in (1600, 403, 224, 85, 1)] == ["full", "medium", "small", "small", "small"]
    work = [(size.mntp_steps, size.simcse_steps * size.simcse_batch, size.pairs_steps * size.pairs_batch) for size in SIZES]
    assert work == sorted(work, reverse=True) and len(set(work)) == len(work)


def test_a_stopped_demo_keeps_its_size(tmp_path: Path) -> None:
    assert of_run(tmp_path / "recipe.yaml", RECIPES) is None
    for size in SIZES:
        (tmp_path / "recipe.yaml").write_text(RECIPES[size.name].to_yaml())
        assert of_run(tmp_path / "recipe.yaml", RECIPES) == size
    other = RECIPES["full"].to_yaml().replace("steps: 40", "steps: 41")
    (tmp_path / "recipe.yaml").write_text(other)
    assert of_run(tmp_path / "recipe.yaml", RECIPES) is None


def test_names() -> None:
    assert by_name("medium").candidates == 500
    with pytest.raises(InputError, match="--size midium: is not a size; did you mean 'medium'"):
        by_name("midium")


def test_the_rate_is_of_whole_passes_and_takes_no_random_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bothways.cli.demo_size.SECONDS", 0.2)
    encoder = bw.convert(tiny_llama(tmp_path / "base"), device="cpu", dtype="float32")
    state = torch.get_rng_state()
    assert measured_rate(encoder) > 0
    assert torch.equal(state, torch.get_rng_state())
    # every pass takes a quarter of a second of this clock
    clock = iter(range(1000))
    monkeypatch.setattr("bothways.cli.demo_size.time", SimpleNamespace(perf_counter=lambda: next(clock) / 4))
    asked: list[list[str]] = []
    monkeypatch.setattr(type(encoder), "encode", lambda self, texts: asked.append(texts))
    rate = measured_rate(encoder)
    a_token = 2 * 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    tokens = sum(len(encoder.tokenizer.tokenize(text)) for text in asked[0])
    assert rate == pytest.approx(a_token * tokens / 0.25 / 1e9)
    assert len(set(asked[0])) == len(asked[0]), "equal texts could be encoded once"


def test_fewer_candidates_are_a_part_of_all() -> None:
    whole, part, larger = (Stdlib(count).collection for count in (None, 150, 10**6))
    assert larger == whole
    assert list(part.corpus) == list(whole.corpus)[:150]
    assert 0 < len(part.queries) <= 150 and set(part.queries) <= set(whole.queries)
    assert all(set(grades) <= set(part.corpus) and grades for grades in part.qrels.values())
    held_out = {name.partition(".")[0] for name in whole.corpus}
    assert set(SEARCHED) <= held_out, "the demo's questions have answers in every size"


def test_a_place_that_cannot_be_used_is_refused_before_the_work(tmp_path: Path) -> None:
    from bothways.cli.verbs.demo import _size

    def size(name: str | None, out: Path) -> str:
        return _size(name, "smollm2-135m", 42, out, "cpu").name

    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"--out .*file: is a file"):
        size("small", tmp_path / "file")
    with pytest.raises(InputError, match="holds files, but no run"):
        size(None, tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPES["small"].to_yaml())
    assert size("small", tmp_path) == size(None, tmp_path) == "small"
    with pytest.raises(InputError, match=r"--size full: the demo in .* began with another size"):
        size("full", tmp_path)
    assert size("full", tmp_path / "new") == "full"
