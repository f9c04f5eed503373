"""Instruction templates: how a task's description becomes a prompt before a text.

A model that was trained with instructions must be asked with the same ones, to the character. So a
template is a value with a name, and every command that writes prompts takes one. E5 (Wang et al.
2024, arXiv 2401.00368) has the rule for the sides, which LLM2Vec and NV-Embed keep. Retrieval tasks
put the instruction only before queries. Symmetric tasks (similarity, paraphrase, clustering) put it
before both sides, because there a query and a document are the same kind of text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.nearest import meant

_SLOT = "{instruction}"


class Prompts(NamedTuple):
    """The texts before queries and before documents, "" for none."""

    query: str = ""
    document: str = ""


class Instruction(NamedTuple):
    """The description of a task.

    Attributes:
        text: the description.
        symmetric: both sides carry it.
        classes: the documents are texts of labels, which do not carry it.
    """

    text: str
    symmetric: bool = False
    classes: bool = False


@dataclass(frozen=True)
class Template:
    """A way to write an instruction.

    Attributes:
        name: the name that a user gives.
        query: the text before a query, with `{instruction}` in place of the task's description.
        document: the text before the documents of a retrieval task.
        colon: remove a full stop or colon from the end of the description, because the template has
            its own mark there.
    """

    name: str
    query: str
    document: str = ""
    colon: bool = False

    @property
    def needs_instruction(self) -> bool:
        """Whether the template is empty without a description of the task."""
        return _SLOT in self.query

    def prompts(self, instruction: str, *, symmetric: bool) -> Prompts:
        """Return the prompts of a task.

        For example, TEMPLATES["plain"].prompts("Find it.", symmetric=False) is ("Find it. ", "").

        Args:
            instruction: the description of the task, "" for none.
            symmetric: write both sides as queries.

        Returns:
            Both prompts. They are empty if the template needs an instruction and there is none.
        """
        text = instruction.strip()
        if self.colon:
            text = text.rstrip(".:; ")
        if self.needs_instruction and not text:
            return Prompts()
        query = self.query.replace(_SLOT, text)
        return Prompts(query, query if symmetric else self.document)


TEMPLATES = {
    template.name: template
    for template in (
        # NV-Embed (arXiv 2405.17428), E5-mistral (arXiv 2401.00368), FlagEmbedding for decoders
        Template("nv_embed", f"Instruct: {_SLOT}\nQuery: "),
        Template("e5_mistral", f"Instruct: {_SLOT}\nQuery: "),
        # E5 (arXiv 2212.03533): fixed prefixes, no instruction; symmetric tasks use "query: " twice
        Template("e5", "query: ", "passage: "),
        # LLM2Vec (arXiv 2404.05961): a colon in its evaluation (task_to_instructions.json), and a
        # semicolon in its training data
        Template("llm2vec", f"{_SLOT}: ", colon=True),
        Template("llm2vec_training", f"{_SLOT}; ", colon=True),
        # the description and a space, as ms-swift writes Qwen3-Embedding's
        Template("plain", f"{_SLOT} "),
        Template("none", ""),
    )
}

_SIMILAR = Instruction("Retrieve semantically similar text", symmetric=True)
_WIKIPEDIA = Instruction("Given a question, retrieve Wikipedia passages that answer the question")
_ANSWERS = Instruction("Retrieve Wikipedia passages that answer the question")
_CHINESE = Instruction(
    "Given a Chinese search query, retrieve web passages that answer the question"
)

# by dataset (E5's training files as LLM2Vec reads them, then E5-mistral's evaluation), and by task
INSTRUCTIONS = {
    "allnli_split1": Instruction(
        "Given a premise, retrieve a hypothesis that is entailed by the premise"
    ),
    "allnli_split2": _SIMILAR,
    "dureader": _CHINESE,
    "eli5_question_answer": Instruction(
        "Provided a user question, retrieve the highest voted answers on Reddit ELI5 forum"
    ),
    "fever": Instruction("Given a claim, retrieve documents that support or refute the claim"),
    "hotpot_qa": Instruction(
        "Given a multi-hop question, retrieve documents that can help answer the question"
    ),
    "miracl": _WIKIPEDIA,
    "mrtydi": _WIKIPEDIA,
    "msmarco_passage": Instruction(
        "Given a web search query, retrieve relevant passages that answer the query"
    ),
    "msmarco_document": Instruction(
        "Given a web search query, retrieve relevant documents that answer the query"
    ),
    "nq": _WIKIPEDIA,
    "quora_duplicates_split1": Instruction(
        "Given a question, retrieve questions that are semantically equivalent to the given question",
        symmetric=True,
    ),
    "quora_duplicates_split2": Instruction(
        "Find questions that have the same meaning as the input question", symmetric=True
    ),
    "squad": _ANSWERS,
    "t2ranking": _CHINESE,
    "trivia_qa": _ANSWERS,
    "scifact": Instruction(
        "Given a scientific claim, retrieve documents that support or refute the claim"
    ),
    "banking77": Instruction(
        "Given a online banking query, find the corresponding intents", classes=True
    ),
    "emotion": Instruction(
        "Classify the emotion expressed in the given Twitter message into one of the six emotions: anger, fear, joy, love, "
        "sadness, and surprise",
        classes=True,
    ),
    "nli": _SIMILAR,
    "sts": _SIMILAR,
    # the example of NV-Embed's model card
    "retrieval": Instruction("Given a question, retrieve passages that answer the question"),
}

# LLM2Vec gives the rows of these two files two instructions in turn (llm2vec/dataset/E5Data.py
# @312adcf), so a file is two tasks: its odd rows and its even ones. Before its issue 58 they were
# files of these names.
HALVES = {
    "allnli": ("allnli_split1", "allnli_split2"),
    "quora_duplicates": ("quora_duplicates_split1", "quora_duplicates_split2"),
}


def find_template(name: str) -> Template:
    r"""Return the template of this name, or the one that `name` spells out.

    For example, find_template("e5") and find_template("Task: {instruction}\n").

    Raises:
        InputError: the name is unknown and has no `{instruction}` in it.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    if _SLOT in name:
        return Template(name, name)
    raise InputError(
        f"template {name!r}: unknown; {meant(name, TEMPLATES)}use {', '.join(TEMPLATES)}, or a text with {_SLOT} in it"
    )


def task_prompts(
    template: str | Template,
    task: str,
    *,
    instruction: str | None = None,
    symmetric: bool | None = None,
) -> Prompts:
    """Return the prompts of a task, by its name.

    For example, task_prompts("nv_embed", "nq") looks up the instruction of Natural Questions.

    Args:
        template: a name that `find_template` knows, or a template.
        task: looked up in INSTRUCTIONS if `instruction` or `symmetric` is None.
        instruction: the description of the task. If None, the known one.
        symmetric: whether both sides carry it. If None, as INSTRUCTIONS says, and False for a task
            that it does not know.

    Raises:
        InputError: the template needs an instruction, and the task is not known.
    """
    found = find_template(template) if isinstance(template, str) else template
    known = INSTRUCTIONS.get(task)
    if instruction is None and known is None and found.needs_instruction:
        raise InputError(
            f"task {task!r}: no instruction is known for it; give one, or use one of: {', '.join(INSTRUCTIONS)}"
        )
    text = instruction if instruction is not None else known.text if known else ""
    both = symmetric if symmetric is not None else known.symmetric if known else False
    return found.prompts(text, symmetric=both)


def with_prompts(examples: Iterable[Example], template: str | Template) -> list[Example]:
    """Return examples with the prompts of their tasks, which replace the prompts they had.

    Args:
        examples: rows. Each task is looked up by `Example.task`.
        template: a name that `find_template` knows, or a template.

    Raises:
        InputError: no instruction is known for a task.
    """
    prompts: dict[str, Prompts] = {}
    done = []
    for example in examples:
        if example.task not in prompts:
            prompts[example.task] = task_prompts(template, example.task)
        query, document = prompts[example.task]
        done.append(replace(example, query_prompt=query, document_prompt=document))
    return done
