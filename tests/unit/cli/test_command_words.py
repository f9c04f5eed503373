"""Empty values and numbers without bounds are refused before any verb runs."""

import pytest

from bothways.cli.app import main
from bothways.cli.command_words import check_words
from bothways.data.conversion.by_example import by_example
from bothways.data.conversion.options import ClassOptions
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.labeled.labeled_text import LabeledText
from bothways.errors import InputError
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.mining.options import MiningOptions
from files import write_jsonl

HUGE = "1" + "0" * 23


@pytest.mark.parametrize(
    "line",
    [
        ["train", "llm2vec", "--base", "", "--data", "x", "--out", "y"],
        ["train", "llm2vec", "--base", "b", "--data", "", "--out", "y"],
        ["train", "llm2vec", "--base", "b", "--data", "x", "--out", ""],
        ["train", "llm2vec", "--base=", "--data", "x", "--out", "y"],
        ["convert", "", "--out", "y"],
        ["convert", "b", "--out", " "],
        ["convert", "b", "--out", "y", "--adapter", ""],
        ["encode", "", "x", "--out", "v.npy"],
        ["encode", "m", "", "--out", "v.npy"],
        ["evaluate", "m", "--task", ""],
        ["evaluate", "", "--task", "stdlib"],
        ["evaluate", "m", "--task", "stdlib", "--out", ""],
        ["search", "m", "", "query"],
        ["mine", "", "--with", "bm25", "--out", "m.jsonl"],
        ["mine", "x", "--with", "", "--out", "m.jsonl"],
        ["mine", "x", "--with", "bm25", "--corpus", "", "--out", "m.jsonl"],
        ["prepare", "nli", "", "--out", "n.jsonl"],
        ["prepare", "nli", "x", "--out", "n.jsonl", "--without", ""],
        ["report", "", "--out", "r.html"],
        ["doctor", ""],
        ["ablate", "", "--out", "y"],
        ["recipes", ""],
    ],
)
def test_an_unset_variable_of_the_shell(tmp_path, monkeypatch, capsys, line):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(line)
    shown = capsys.readouterr()
    assert ended.value.code == 2 and "empty" in shown.err and len(shown.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--prompt", "--query-prompt", "--document-prompt", "--instruction"])
def test_no_prompt_is_a_prompt(option):
    line = ["encode", "m", "x", option, "", f"{option}="]
    check_words([*line, "--out", "v.npy"])
    with pytest.raises(InputError, match=r"^--out: the value is empty"):
        check_words([*line, "--out", ""])


@pytest.mark.parametrize("number", [HUGE, "9" * 6000, f"-{HUGE}"])
def test_numbers_beyond_all_bounds(number, capsys):
    for line in (
        ["mine", "x", "--with", "bm25", "--out", "m.jsonl", "--limit", number],
        ["search", "m", "x", "q", f"--top={number}"],
    ):
        with pytest.raises(SystemExit):
            main(line)
        shown = capsys.readouterr().err
        assert "the number is too large" in shown and len(shown) < 200


def test_texts_may_be_numbers():
    check_words(["search", "m", "x", HUGE])
    with pytest.raises(InputError, match=r"^--top "):
        check_words(["search", "m", "x", HUGE, "--top", HUGE])


def test_seeds(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", "r.json", "--seed", "-1", "--out", str(tmp_path / "r.html")])
    assert ended.value.code == 2 and "seed" in capsys.readouterr().err
    for seed in (-1, 2**32):
        with pytest.raises(InputError, match="seed"):
            RunOptions(seed=seed)


def test_counts_without_bounds(tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"text": f"t{n}", "label": n % 2} for n in range(8)])
    for options in (f"experiments={HUGE}&folds=2", "seed=-1&folds=2", "experiments=true&folds=2"):
        with pytest.raises(InputError, match=r"experiments|seed"):
            make_task(f"classification:{rows}?{options}")
    for task in (f"clustering:{rows}?documents={HUGE}", f"passkey?repeats={HUGE}", f"topics?repeats={HUGE}", "stdlib?name="):
        with pytest.raises(InputError, match=r"at most|is empty|unknown option"):
            make_task(task)
    with pytest.raises(InputError, match="window"):
        MiningOptions(window=(1, 10**23))
    examples = write_jsonl(tmp_path / "examples.jsonl", [{"query": "q", "pos": ["p"]}])
    assert len(read_examples(examples, limit=10**23)) == 1


def test_all_negatives_there_are():
    items = [LabeledText(f"text {n}", (str(n % 2),), n) for n in range(6)]
    made = by_example(items, ClassOptions(negatives=10**23))
    assert all(len(example.negatives) == 3 for example in made.examples)


def test_a_blank_separates_labels() -> None:
    check_words(["prepare", "clustering", "x", "--separator", " "])
    with pytest.raises(InputError, match="--separator: the value is empty"):
        check_words(["prepare", "clustering", "x", "--separator", ""])
