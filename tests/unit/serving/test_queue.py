"""The choice of the texts of a pass: full, fair, complete."""

from __future__ import annotations

import random

import pytest

from bothways.encoder.batch import TokenRow
from bothways.serving.queue import Job, Queue


def job(*lengths: int, alone=None) -> Job:
    return Job([TokenRow([1] * length, [True] * length, []) for length in lengths], [""] * len(lengths), alone)


def lengths(taken) -> list[int]:
    return [len(each.rows[index].ids) for each, index in taken]


@pytest.mark.parametrize("padded", [False, True])
def test_every_text_is_taken_once_within_the_budget(padded):
    draw = random.Random(0)
    queue = Queue(padded=padded)
    jobs = [job(*(draw.randint(1, 150) for _ in range(draw.randint(1, 30)))) for _ in range(20)]
    for each in jobs:
        queue.add(each)
    seen = []
    while queue:
        taken = queue.take(100)
        assert taken
        found = lengths(taken)
        assert len(found) == 1 or (max(found) * len(found) if padded else sum(found)) <= 100
        seen += [(id(each), index) for each, index in taken]
    assert sorted(seen) == sorted((id(each), index) for each in jobs for index in range(len(each.rows)))
    assert queue.take(100) == []


def test_passes_are_full():
    queue = Queue(padded=False)
    draw = random.Random(1)
    queue.add(job(*(draw.randint(1, 60) for _ in range(400))))
    used = []
    while queue:
        used.append(sum(lengths(queue.take(256))))
    assert sum(used[:-1]) / len(used[:-1]) > 0.97 * 256


def test_a_query_does_not_wait_for_a_large_request():
    queue = Queue(padded=False)
    large, small = job(*[50] * 500), job(5)
    queue.add(large)
    queue.take(100)
    queue.add(small)
    assert any(each is small for each, _ in queue.take(100))


def test_a_text_that_does_not_fit_comes_first_in_the_next_pass():
    queue = Queue(padded=False)
    for each in (job(60), job(90), job(30)):
        queue.add(each)
    assert lengths(queue.take(100)) == [60, 30]
    assert lengths(queue.take(100)) == [90]


def test_texts_alone_are_alone():
    queue = Queue(padded=False)
    for each in (job(5), job(7, 8, alone=len), job(6)):
        queue.add(each)
    assert lengths(queue.take(100)) == [5, 6]
    assert lengths(queue.take(100)) == [8]
    assert lengths(queue.take(100)) == [7]


def test_removed_jobs_are_gone():
    queue = Queue(padded=False)
    first, second = job(5, 5), job(6)
    queue.add(first)
    queue.add(second)
    queue.remove(first)
    queue.remove(first)
    assert lengths(queue.take(100)) == [6]
    assert not queue
