"""Topic retrieval: conversations by seed and length, and what counts as naming the first topic."""

from __future__ import annotations

import random
import re

import pytest

from bothways.errors import InputError
from bothways.evaluation.language_model import topics_text
from bothways.evaluation.language_model.causal_model import CausalLM
from bothways.evaluation.language_model.language_model import load_language_model
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.topics import Topics, first_entry, names
from tiny import tiny_llama

QUIET = RunOptions(show_progress_bar=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> CausalLM:
    folder = tiny_llama(tmp_path_factory.mktemp("models") / "base", tokenizer={"add_bos": True})
    return load_language_model(folder, dtype="float32", device="cpu")


class Reader(CausalLM):
    """Begins its list with the first (or, wrongly, the last) topic that it reads in the prompt, and
    goes on with the first.
    """

    place = 0
    joint = "\n2. "

    def greedy(self, ids, count):
        text = self.tokenizer.decode(ids)
        asked = re.findall(r"What would you like to know about (.+?)\?", text)
        return self.tokens(f" {asked[self.place].capitalize()}{self.joint}{asked[0]}.")


def reader(model: CausalLM, place: int = 0, joint: str = "\n2. ") -> Reader:
    made = Reader(model.backbone, model.head, model.tokenizer)
    made.place, made.joint = place, joint
    return made


@pytest.mark.parametrize(("length", "topics"), [(400, 2), (2400, 4), (12_000, 20)])
def test_conversations_fill_their_length_and_hold_more_topics_the_longer_they_are(model, length, topics):
    task = Topics((length,), repeats=2)
    longest = max(
        len(model.tokens(exchange)) for exchange in topics_text.exchanges("underwater archaeology", random.Random(0), 16)
    )
    for conversation in task.conversations(model, length, seed=0):
        assert len(conversation.topics) == topics
        # the longest exchange about the longest topic, and a little for the seams and longer
        # remarks, is missing at most
        assert length - 1.5 * longest < len(conversation.ids) <= length
        text = model.tokenizer.decode(conversation.ids, skip_special_tokens=True)
        opened = re.findall(r"What would you like to know about (.+?)\?", text)
        assert tuple(opened) == conversation.topics
        assert text.endswith("\nASSISTANT: 1.")
        exchanges = [part.count("USER: ") for part in re.split(r"What would you like to know about", text)[1:]]
        assert max(exchanges[:-1]) - min(exchanges[:-1]) <= 1


def test_the_same_seed_gives_the_same_conversations_whatever_else_is_measured(model):
    alone = Topics((400,), repeats=2).conversations(model, 400, seed=1)
    assert alone == Topics((300, 400), repeats=3).conversations(model, 400, seed=1)[:2]
    assert alone != Topics((400,), repeats=2).conversations(model, 400, seed=2)
    assert alone[0] != alone[1]


def test_who_names_the_first_topic_is_right_and_who_names_the_last_is_wrong(model):
    task = Topics((400, 900), repeats=3)
    first = task.run(reader(model), QUIET)
    assert first.metrics == {"accuracy": 1.0, "accuracy[400]": 1.0, "accuracy[900]": 1.0}
    assert first.details["topics"] == [2, 2]
    # this one names the first topic too, but as the second entry
    assert task.run(reader(model, -1, " 2. "), QUIET).metrics["accuracy"] == 0.0
    last = task.run(reader(model, -1), QUIET)
    assert last.metrics["accuracy"] == 0.0
    assert last.details["items"]["values"] == [0.0] * 6
    wrong = last.details["items"]["texts"][0]
    assert wrong["topic"] not in wrong["answer"].lower()
    assert task.picture(first.details)[1].split() == ["first", "topic", "██", "100", "██", "100"]


def test_all_words_of_the_topic_are_needed_and_nothing_else():
    assert names("Tidal ENERGY, of course.", "tidal energy")
    assert names("the energy of tidal rivers", "tidal energy")
    assert not names("tidal power", "tidal energy")
    assert not names("beekeepings", "beekeeping")
    assert first_entry("\n bonsai trees. \nUSER: and then?") == "bonsai trees."
    assert first_entry(" Bonsai trees. 2. Tidal energy") == "Bonsai trees."
    assert first_entry("") == ""


@pytest.mark.parametrize("mark", [", ", "; ", "\n", "\r\n", " 2. "])
def test_whoever_lists_all_topics_on_one_line_has_not_named_the_first(mark):
    entry = first_entry(" " + mark.join(("beekeeping", "chess endgames", "opera singing")))
    assert entry == "beekeeping"
    assert not names(entry, "opera singing")
    assert not any(re.search(r"[,;]", topic) for topic in topics_text.TOPICS), "a topic would be cut"


def test_specifications_and_wrong_options(model):
    assert make_task("topics?lengths=800,400&repeats=2").settings == {
        "lengths": [400, 800],
        "repeats": 2,
        "answer": "the first entry alone",
    }
    for spec, message in [("topics:400", "does not take an argument"), ("topics?repeats=0", "repeats must be at least 1")]:
        with pytest.raises(InputError, match=message):
            make_task(spec)
    with pytest.raises(InputError, match="a conversation over two topics has"):
        Topics((60,)).run(model, QUIET)
