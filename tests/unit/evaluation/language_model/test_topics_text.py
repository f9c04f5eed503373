"""The text of conversations: topics that share no word, and questions that fit all."""

from __future__ import annotations

import random

from bothways.evaluation.language_model import topics_text


def test_no_two_topics_share_a_word():
    words = [word for topic in topics_text.TOPICS for word in topic.split()]
    assert len(set(words)) == len(words)
    assert len(topics_text.TOPICS) == 40


def test_questions_are_used_up_before_one_is_repeated():
    exchanges = topics_text.exchanges("origami", random.Random(0), 40)
    questions = [exchange.split("\n")[0] for exchange in exchanges]
    assert len(set(questions[:16])) == len(set(questions[16:32])) == 16
    assert len(exchanges) == 40
    assert all("origami" in question for question in questions)
