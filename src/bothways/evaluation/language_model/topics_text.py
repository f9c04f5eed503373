"""Text of the conversations of topic retrieval: topics, and questions and answers that fit all.

The same questions are asked about every topic, so that only its name distinguishes one passage from
another. No two topics share a word, so that an answer names one of them or none.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

TOPICS = (
    "beekeeping",
    "tidal energy",
    "opera singing",
    "chess endgames",
    "bread baking",
    "glacier research",
    "bonsai trees",
    "underwater archaeology",
    "jazz piano",
    "rail travel",
    "coffee roasting",
    "volcano tourism",
    "origami",
    "medieval castles",
    "wildlife photography",
    "sign language",
    "urban farming",
    "marathon training",
    "stained glass",
    "comet hunting",
    "cheese ripening",
    "kite surfing",
    "silent film",
    "orchid breeding",
    "lighthouse keeping",
    "puppet theatre",
    "cave exploration",
    "folk dancing",
    "watch repair",
    "desert gardening",
    "ice hockey",
    "paper money",
    "sailing knots",
    "dinosaur fossils",
    "violin making",
    "street murals",
    "mushroom picking",
    "horse riding",
    "radio drama",
    "tea ceremonies",
)

_OPENING = "What follows is a conversation between a user and an assistant. They move from one topic to the next."
# Even a small base LLM continues a list that has begun. It answers "The first topic was" with
# "the first topic".
_CLOSING = (
    "USER: That is all. Which topics did we talk about? List them in the order in which they came up, names only.\n"
    "ASSISTANT: 1."
)

_ASPECTS = (  # a question with {} for the topic, and its answer
    (
        "How does one start with {}?",
        "Most people watch somebody experienced for a day and then try one small thing alone.",
    ),
    (
        "What does {} cost?",
        "The first year is cheap if you borrow what you need; good equipment can be bought later.",
    ),
    (
        "Where was {} first heard of?",
        "Historians disagree, and at least three regions claim to have been the first.",
    ),
    (
        "What do beginners get wrong in {}?",
        "They hurry. Nearly every failure goes back to a step that was skipped.",
    ),
    (
        "Is there a good book about {}?",
        "Several, and the oldest of them is still in print because its drawings are so clear.",
    ),
    (
        "How long until one is good at {}?",
        "Two winters are enough for the basics, and nobody has ever finished learning.",
    ),
    (
        "Can {} be dangerous?",
        "Hardly, if one keeps to the rules that the clubs have written down over the decades.",
    ),
    (
        "Who is drawn to {}?",
        "Patient people, often those whose working day leaves them little that they can touch.",
    ),
    (
        "How has {} changed lately?",
        "Cheaper instruments brought in young people, and the old hands have made room for them.",
    ),
    (
        "Do children take to {}?",
        "From about the age of eight they do, provided that somebody sits beside them.",
    ),
    (
        "Which country is known for {}?",
        "One thinks of the north first, but the liveliest scene is now in the south.",
    ),
    (
        "What is the best season for {}?",
        "Early autumn, when the light is low and the crowds have gone home.",
    ),
    (
        "Does {} need a lot of room?",
        "A corner of a kitchen has been enough for some of the most admired work of all.",
    ),
    (
        "What is said against {}?",
        "That it eats weekends. The answer is that weekends are meant to be eaten by something.",
    ),
    (
        "Is {} better done alone?",
        "Alone one learns care and in company one learns tricks; most people end up wanting both.",
    ),
    (
        "What surprises people about {}?",
        "How quiet it is, and how tired one is afterwards without having noticed any effort.",
    ),
)

_REMARKS = (
    "I would gladly say more.",
    "That is at least the usual view.",
    "Opinions differ, of course.",
    "Ask three people and you will hear three stories.",
    "There is more to it, but that is the heart of the matter.",
    "It took me a while to understand this myself.",
    "You may find that your own experience differs.",
    "This is told again and again, and it happens to be true.",
)


def exchanges(topic: str, draw: random.Random, count: int) -> list[str]:
    """Write `count` questions and answers about a topic.

    Every question comes once in a random order, then all again in another order.

    Args:
        topic: name of the topic.
        draw: source of the order and the remarks.
        count: number of exchanges.
    """
    found: list[str] = []
    while len(found) < count:
        for question, answer in draw.sample(_ASPECTS, len(_ASPECTS)):
            found.append(
                f"USER: {question.format(topic)}\nASSISTANT: {answer} {draw.choice(_REMARKS)}"
            )
    return found[:count]


def conversation(topics: Sequence[str], told: Sequence[Sequence[str]]) -> str:
    """Write the prompt.

    Each topic is opened in the same words and followed by its exchanges. At the end the list of
    topics is begun.

    Args:
        topics: topics in order.
        told: exchanges about each topic.
    """
    return "\n".join((_OPENING, *_lines(topics, told), _CLOSING))


def _lines(topics: Sequence[str], told: Sequence[Sequence[str]]) -> Iterator[str]:
    for topic, part in zip(topics, told):
        yield f"USER: I should like to talk about {topic}.\nASSISTANT: Gladly. What would you like to know about {topic}?"
        yield from part


def everything() -> tuple[str, ...]:
    """Return all texts that prompts consist of, for the fingerprint of the task."""
    return (
        _OPENING,
        _CLOSING,
        *TOPICS,
        *(part for aspect in _ASPECTS for part in aspect),
        *_REMARKS,
    )
