"""The engine: right vectors out of shared passes, a bounded queue, and failures that stay with
their request.
"""

from __future__ import annotations

import copy
import threading
import time

import numpy as np
import pytest
import torch

from bothways.encoder.finite import NotFinite
from bothways.serving.engine import Engine, Full, Stopped
from tiny import SENTENCES


@pytest.fixture
def start():
    made = []

    def begin(encoder, **options):
        made.append(Engine({"tiny": encoder}, **{"queue_rows": 1000, "queue_tokens": 100_000, **options}))
        made[-1].start()
        return made[-1]

    yield begin
    for engine in made:
        engine.stop()


def submit(engine, encoder, texts):
    return engine.submit("tiny", encoder.tokenize(texts), texts)


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_texts_of_many_requests_share_passes(start, slow, encoder):
    figures = []

    class Observer:
        def passed(self, model, rows, tokens, seconds):
            figures.append((model, rows, tokens))

    engine = start(slow, observer=Observer())
    first = submit(engine, encoder, ["first"])
    wait_until(lambda: not engine._served["tiny"].queue)
    jobs = {text: submit(engine, encoder, [text]) for text in SENTENCES}
    slow.permits.release(2)
    for text, job in jobs.items():
        np.testing.assert_allclose(job.future.result(10)[0], encoder.encode(text), rtol=0, atol=1e-5)
    assert first.future.done()
    wait_until(lambda: len(figures) == 2)
    assert figures[1][:2] == ("tiny", len(SENTENCES))
    assert figures[1][2] == sum(len(row.ids) for row in encoder.tokenize(SENTENCES))
    assert (engine.rows, engine.tokens) == (0, 0)


def test_full_queues_refuse_and_empty_ones_take_anything(start, slow, encoder):
    engine = start(slow, queue_rows=3, queue_tokens=1000)
    large = submit(engine, encoder, ["a"] * 5)
    with pytest.raises(Full) as full:
        submit(engine, encoder, ["b"])
    assert 1 <= full.value.retry_after <= 60
    slow.permits.release(10)
    large.future.result(10)
    submit(engine, encoder, ["b"]).future.result(10)
    while slow.permits.acquire(blocking=False):  # those left over would let the next text pass
        pass
    engine = start(slow, queue_tokens=10)
    long = submit(engine, encoder, [SENTENCES[0]])
    with pytest.raises(Full):
        submit(engine, encoder, ["b"])
    slow.permits.release(10)
    long.future.result(10)


def test_released_jobs_make_room(start, slow, encoder):
    engine = start(slow, batch_tokens=1, queue_rows=4)
    running = submit(engine, encoder, ["a"])
    wait_until(lambda: not engine._served["tiny"].queue)
    gone = submit(engine, encoder, ["b"] * 3)
    engine.release(gone)
    engine.release(gone)
    assert engine.rows == 1 and gone.future.cancelled()
    after = submit(engine, encoder, ["c"])
    slow.permits.release(2)  # for "a" and "c" alone
    assert running.future.result(10) and after.future.result(10)
    assert engine.rows == 0


def test_a_released_job_may_still_run(start, slow, encoder):
    engine = start(slow)
    job = submit(engine, encoder, ["a"])
    wait_until(lambda: not engine._served["tiny"].queue)
    engine.release(job)
    slow.permits.release(5)
    assert submit(engine, encoder, ["b"]).future.result(10)
    assert engine.healthy and (engine.rows, engine.tokens) == (0, 0)


def poisoned(encoder, error):
    """An encoder that fails when a text contains the letter z."""
    made = copy.copy(encoder)
    mark = encoder.tokenize(["z"])[0].ids[-1]

    def forward(batch):
        vectors = encoder.forward(batch)
        segments = batch.plan.segment_ids(batch.input_ids.device)
        wrong = {int(each) for each in segments[batch.input_ids == mark] if each < batch.rows}
        if wrong and error is not None:
            raise error
        for row in wrong:
            vectors[row] = torch.nan
        return vectors

    made.forward = forward
    return made


@pytest.mark.parametrize("error", [None, RuntimeError("no such kernel")])
def test_a_failing_text_fails_its_own_request_alone(start, encoder, error, caplog):
    engine = start(poisoned(encoder, error))
    good = [submit(engine, encoder, [text]) for text in ("one", "two")]
    bad = submit(engine, encoder, ["ok", "z", "ok again"])
    more = submit(engine, encoder, ["three"])
    with pytest.raises(NotFinite if error is None else RuntimeError):
        bad.future.result(10)
    for job, text in zip([*good, more], ("one", "two", "three")):
        np.testing.assert_allclose(job.future.result(10)[0], encoder.encode(text), rtol=0, atol=1e-5)
    assert engine.healthy and (engine.rows, engine.tokens) == (0, 0)
    for _ in range(3):
        with pytest.raises(NotFinite if error is None else RuntimeError):
            submit(engine, encoder, ["z"]).future.result(10)
    wait_until(lambda: engine.healthy == (error is None))
    submit(engine, encoder, ["one"]).future.result(10)
    wait_until(lambda: engine.healthy)


def test_less_memory_makes_smaller_passes(start, encoder):
    small = copy.copy(encoder)

    def forward(batch):
        if batch.tokens > 40:
            raise torch.OutOfMemoryError
        return encoder.forward(batch)

    small.forward = forward
    engine = start(small)
    texts = [f"number {i}" for i in range(20)]
    found = submit(engine, encoder, texts).future.result(10)
    np.testing.assert_allclose(found, encoder.encode(texts), rtol=0, atol=1e-5)
    assert engine._served["tiny"].budget.tokens <= 40


def test_stopping_fails_what_waits(start, slow, encoder):
    engine = start(slow)
    running = submit(engine, encoder, ["a"])
    wait_until(lambda: not engine._served["tiny"].queue)
    waiting = submit(engine, encoder, ["b"])
    threading.Timer(0.2, slow.permits.release).start()
    engine.stop()
    assert running.future.result(1)
    with pytest.raises(Stopped):
        waiting.future.result(1)
    with pytest.raises(Stopped):
        submit(engine, encoder, ["c"])
    assert not engine.healthy
