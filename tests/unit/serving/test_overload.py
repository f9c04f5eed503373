"""Ten times as many requests as the queue has room for: each is either refused at once, or answered
right, and nothing is left behind.
"""

from __future__ import annotations

import threading
import time

import numpy as np

from embedding_server import running
from tiny import SENTENCES

ROOM = 8


def test_ten_times_the_queue(slow, encoder) -> None:
    answers: list[tuple[str, int, dict, dict]] = []

    def ask(text: str) -> None:
        status, body, headers = server.ask("/v1/embeddings", {"input": text})
        answers.append((text, status, body, {name.lower(): value for name, value in headers.items()}))

    texts = [f"{SENTENCES[number % len(SENTENCES)]} {number}" for number in range(10 * ROOM)]
    with running({"tiny": slow}, queue_rows=ROOM) as server:
        threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while len(answers) < 9 * ROOM:  # no pass runs yet, so these are the refusals
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert {status for _, status, _, _ in answers} == {429}
        for _, _, body, headers in answers:
            assert "queue is full" in body["error"]["message"] and 1 <= int(headers["retry-after"]) <= 60
        slow.permits.release(ROOM)
        for thread in threads:
            thread.join(60)
        accepted = [(text, body) for text, status, body, _ in answers if status == 200]
        assert len(accepted) == ROOM and len(answers) == 10 * ROOM
        expected = encoder.encode([text for text, _ in accepted])
        found = [body["data"][0]["embedding"] for _, body in accepted]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        while slow.permits.acquire(blocking=False):
            pass
        slow.permits.release(1)
        assert server.ask("/v1/embeddings", {"input": "after"})[0] == 200  # all room is free again
        figures = server.ask("/metrics")[1]
        assert "bothways_waiting_texts 0.0" in figures and "bothways_waiting_tokens 0.0" in figures
