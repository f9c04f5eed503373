"""Figures of a card: from results files about the very same model, with every metric; a card anew
by `bothways card`.
"""

import json
import logging
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import bothways as bw
from bothways.cli.app import main
from bothways.encoder.folder.card import CARD, is_ours
from bothways.errors import InputError
from bothways.publishing.cards import write_card
from tiny import SENTENCES, tiny_llama

PAIRS = [{"sentence1": SENTENCES[i], "sentence2": SENTENCES[i + 1], "score": i} for i in range(6)]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu").save(tmp_path / "run")
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    return tmp_path / "run"


def evaluate(folder: Path, out: Path, dtype: str = "float32") -> bw.Encoder:
    encoder = bw.load(folder, dtype=dtype, device="cpu")
    bw.evaluate(encoder, f"sts:{folder.parent / 'dev.jsonl'}", out=out)
    return encoder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_figures_of_this_model_in_any_precision(saved: Path, tmp_path: Path, dtype: str) -> None:
    evaluate(saved, tmp_path / "scores.json", dtype)
    written = json.loads((tmp_path / "scores.json").read_text())["tasks"]
    (record,) = written.values()
    write_card(saved, license="mit", name="me/mine", results=[tmp_path / "scores.json"])
    data = ModelCard.load(saved / CARD).data
    assert {each.metric_type: each.metric_value for each in data.eval_results} == record["metrics"]
    first = data.eval_results[0]
    assert (first.metric_type, first.task_type, first.dataset_name) == ("spearman", "semantic-similarity", "sts:dev.jsonl")
    assert first.dataset_args == {"sha256": record["data"]}
    text = (saved / CARD).read_text()
    assert f"| sts:dev.jsonl | spearman | {record['metrics']['spearman']:.4f} |" in text and str(tmp_path) not in text
    write_card(saved)
    assert ModelCard.load(saved / CARD).data.license == "mit", "what the card said before stays"


def test_results_of_another_model(saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = bw.load(saved, dtype="float32", device="cpu")
    encoder.options.max_length = 5
    bw.evaluate(encoder, f"sts:{tmp_path / 'dev.jsonl'}", out=tmp_path / "other.json")
    with pytest.raises(InputError, match=r"other\.json: is about another model"):
        write_card(saved, results=[tmp_path / "other.json"])
    (tmp_path / "other.json").rename(saved / "results.json")
    with caplog.at_level(logging.WARNING, "bothways"):
        write_card(saved)
    assert any("it is not on the card" in message for message in caplog.messages)
    assert ModelCard.load(saved / CARD).data.eval_results is None


def test_results_beside_the_encoder(saved: Path, tmp_path: Path) -> None:
    evaluate(saved, saved / "results-sts.json")
    (saved / "results").mkdir()
    evaluate(saved, saved / "results" / "again.json")
    upload = bw.push(saved, "me/mine", dry_run=True)
    assert "results-sts.json" in upload.left_out and "results/" in upload.left_out
    write_card(saved)
    assert len({each.dataset_name for each in ModelCard.load(saved / CARD).data.eval_results}) == 1
    held = json.loads((saved / "results-sts.json").read_text())
    next(iter(held["tasks"].values()))["metrics"]["spearman"] = 0.99
    (saved / "results-sts.json").write_text(json.dumps(held))
    with pytest.raises(InputError, match="other scores in another results file"):
        write_card(saved)
    (saved / "results-sts.json").write_text("{}")
    write_card(saved)
    with pytest.raises(InputError, match=r"results-sts\.json: not a results file"):
        write_card(saved, results=[saved / "results-sts.json"])


def test_two_files_of_one_name_are_told_apart(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS[1:]))
    encoder = bw.load(saved, dtype="float32", device="cpu")
    bw.evaluate(encoder, [f"sts:{tmp_path / 'dev.jsonl'}", f"sts:{tmp_path / 'two' / 'dev.jsonl'}"], out=tmp_path / "r.json")
    write_card(saved, results=[tmp_path / "r.json"])
    names = {each.dataset_name for each in ModelCard.load(saved / CARD).data.eval_results}
    assert len(names) == 2 and all(name.startswith("sts:dev.jsonl (") for name in names)


def test_the_command(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["card", str(saved), "--license", "apache-2.0", "--language", "en", "--language", "ko", "--base-model", "org/base"])
    data = ModelCard.load(saved / CARD).data
    assert (data.license, data.language, data.base_model) == ("apache-2.0", ["en", "ko"], "org/base")
    assert "written" in capsys.readouterr().out
    (saved / CARD).write_text("# Mine\n")
    with pytest.raises(SystemExit) as stopped:
        main(["card", str(saved)])
    assert stopped.value.code == 2 and "somebody has changed it" in capsys.readouterr().err
    assert (saved / CARD).read_text() == "# Mine\n"
    main(["card", str(saved), "--replace"])
    assert is_ours((saved / CARD).read_text())
