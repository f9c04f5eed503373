"""Prompts to the character: a model asked with another template than it was trained with is another
model.
"""

import pytest

from bothways.data.labeled.example import Example
from bothways.data.labeled.templates import INSTRUCTIONS, TEMPLATES, Prompts, find_template, task_prompts, with_prompts
from bothways.errors import InputError

TASK = "Given a claim, retrieve documents."


@pytest.mark.parametrize(
    ("name", "asymmetric", "symmetric"),
    [
        ("nv_embed", (f"Instruct: {TASK}\nQuery: ", ""), (f"Instruct: {TASK}\nQuery: ",) * 2),
        ("e5_mistral", (f"Instruct: {TASK}\nQuery: ", ""), (f"Instruct: {TASK}\nQuery: ",) * 2),
        ("e5", ("query: ", "passage: "), ("query: ", "query: ")),
        ("llm2vec", ("Given a claim, retrieve documents: ", ""), ("Given a claim, retrieve documents: ",) * 2),
        ("llm2vec_training", ("Given a claim, retrieve documents; ", ""), ("Given a claim, retrieve documents; ",) * 2),
        ("plain", (f"{TASK} ", ""), (f"{TASK} ",) * 2),
        ("none", ("", ""), ("", "")),
    ],
)
def test_published_forms(name, asymmetric, symmetric):
    assert TEMPLATES[name].prompts(TASK, symmetric=False) == asymmetric
    assert TEMPLATES[name].prompts(TASK, symmetric=True) == symmetric


def test_all_templates_are_tested():
    names = {mark.args[1][i][0] for mark in test_published_forms.pytestmark for i in range(len(mark.args[1]))}
    assert names == set(TEMPLATES)


def test_braces_in_an_instruction_are_text():
    assert find_template("nv_embed").prompts("Fill {x} and {", symmetric=False).query == "Instruct: Fill {x} and {\nQuery: "
    assert find_template("<{instruction}> ").prompts("a", symmetric=True) == Prompts("<a> ", "<a> ")
    with pytest.raises(InputError, match="template 'nv-embed': unknown; did you mean 'nv_embed'"):
        find_template("nv-embed")


def test_no_instruction_gives_no_prompt_but_fixed_prefixes_stay():
    assert find_template("llm2vec").prompts(" ", symmetric=True) == Prompts("", "")
    assert find_template("e5").prompts("", symmetric=False) == Prompts("query: ", "passage: ")


def test_tasks():
    assert task_prompts("plain", "sts") == ("Retrieve semantically similar text ",) * 2
    assert task_prompts("plain", "scifact").document == ""
    assert task_prompts("plain", "mine", instruction="Do.", symmetric=True) == ("Do. ", "Do. ")
    assert task_prompts("none", "mine") == ("", "")
    with pytest.raises(InputError, match="task 'mine': no instruction is known for it"):
        task_prompts("plain", "mine")


def test_llm2vec_puts_the_instruction_on_both_sides_of_three_sets():
    """llm2vec/dataset/E5Data.py names these three; MS MARCO and the rest carry it on queries
    only.
    """
    names = ["allnli_split1", "allnli_split2", "quora_duplicates_split1", "quora_duplicates_split2", "msmarco_passage"]
    assert [INSTRUCTIONS[name].symmetric for name in names] == [False, True, True, True, False]
    done = with_prompts([Example("q", ("p",), task=name, query_prompt="old") for name in names], "llm2vec_training")
    assert done[0].query_prompt == "Given a premise, retrieve a hypothesis that is entailed by the premise; "
    assert [bool(example.document_prompt) for example in done] == [False, True, True, True, False]
