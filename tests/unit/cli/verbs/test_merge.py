"""`bothways merge`: shares, the metric, and what is refused."""

from __future__ import annotations

import json

import numpy as np

import bothways as bw
from unit.cli.cli_runner import runner
from unit.merging.material import family
from unit.training.material import TEXTS


def test_the_command(tmp_path, capsys):
    place = family(tmp_path)
    run = runner(capsys)
    pairs = tmp_path / "dev.jsonl"
    rows = [{"sentence1": TEXTS[n], "sentence2": TEXTS[n + 1], "score": n % 5} for n in range(9)]
    pairs.write_text("\n".join(map(json.dumps, rows)))
    done = run(
        "merge",
        place / "a",
        place / "b",
        "--out",
        tmp_path / "out",
        "--weights",
        "3,1",
        "--method",
        "soup",
        "--dev",
        f"sts:{pairs}",
    )
    assert done.code == 0, done.err
    assert "0.750  a" in done.out and "proved by the doctor" in done.out
    assert np.isfinite(bw.load(tmp_path / "out").encode("a text")).all()
    assert "spearman" in json.dumps(bw.load(tmp_path / "out").provenance["merge"]["dev"])
    assert (
        "expected numbers with commas" in run("merge", place / "a", place / "b", "--out", tmp_path / "n", "--weights", "a").err
    )


def test_slerp_and_a_greedy_soup_by_a_metric(tmp_path, capsys):
    place, run = family(tmp_path), runner(capsys)
    done = run("merge", place / "a", place / "b", "--out", tmp_path / "arc", "--method", "slerp", "--t", "0.3")
    assert done.code == 0 and "proved by the doctor" in done.out, done.err
    assert bw.load(tmp_path / "arc").provenance["merge"]["method"] == "slerp"
    rows = [{"sentence1": TEXTS[n], "sentence2": TEXTS[n + 1], "score": n % 5} for n in range(9)]
    (tmp_path / "dev.jsonl").write_text("\n".join(map(json.dumps, rows)))
    models = [place / name for name in "abc"]
    done = run("merge", *models, "--out", tmp_path / "greedy", "--dev", f"sts:{tmp_path / 'dev.jsonl'}")
    assert done.code == 0 and "proved by the doctor" in done.out, done.err
    facts = bw.load(tmp_path / "greedy").provenance["merge"]
    assert facts["method"] == "greedy"
    assert facts["dev"]["merged"] >= max(facts["dev"]["models"])
    assert {round(parent["weight"], 6) for parent in facts["parents"]} <= {0.0, round(1 / 3, 6), 0.5, 1.0}
