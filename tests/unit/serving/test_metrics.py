"""The figures of a server, read back by Prometheus's own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from bothways.serving.metrics import Metrics


def read(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Value by name and labels, in order."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_answers_are_counted_by_path_and_status_and_guesses_together() -> None:
    metrics = Metrics(lambda: (0, 0))
    metrics.paths = {"/v1/embeddings"}
    for path, status in (
        ("/v1/embeddings", 200),
        ("/v1/embeddings", 200),
        ("/v1/embeddings", 422),
        ("/.env", 404),
        ("/wp", 404),
    ):
        metrics.answered(path, status, 0.2)
    metrics.answered("/v1/models/mine", 200, 0.01)
    found = read(metrics)
    assert found["bothways_requests_total", "/v1/embeddings", "200"] == 2
    assert found["bothways_requests_total", "/v1/embeddings", "422"] == 1
    assert found["bothways_requests_total", "other", "404"] == 2
    assert found["bothways_requests_total", "/v1/models/{name}", "200"] == 1
    assert found["bothways_request_seconds_count", "/v1/embeddings"] == 3
    assert found["bothways_request_seconds_bucket", "0.25", "/v1/embeddings"] == 3
    assert found["bothways_request_seconds_bucket", "0.1", "/v1/embeddings"] == 0


def test_passes_count_texts_and_tokens_of_each_model() -> None:
    metrics = Metrics(lambda: (0, 0))
    metrics.passed("a", 3, 100, 0.02)
    metrics.passed("a", 1, 20, 0.02)
    metrics.passed("b", 1, 5, 0.02)
    metrics.truncated("a", 2)
    found = read(metrics)
    assert (found["bothways_texts_total", "a"], found["bothways_tokens_total", "a"]) == (4, 120)
    assert (found["bothways_texts_total", "b"], found["bothways_truncated_texts_total", "a"]) == (1, 2)
    assert found["bothways_pass_tokens_sum", "a"] == 120


def test_what_waits_is_asked_for_when_it_is_read_and_servers_are_apart() -> None:
    waiting = [2, 30]
    metrics, other = Metrics(lambda: (waiting[0], waiting[1])), Metrics(lambda: (0, 0))
    assert read(metrics)["bothways_waiting_tokens",] == 30
    waiting[:] = 5, 70
    assert (read(metrics)["bothways_waiting_texts",], read(metrics)["bothways_waiting_tokens",]) == (5, 70)
    assert read(other)["bothways_waiting_texts",] == 0
