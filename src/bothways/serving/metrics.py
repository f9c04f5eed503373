"""The figures at /metrics, in Prometheus's form. Each server has its own registry."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_TOKENS = (16, 64, 256, 512, 1024, 4096, 16_384, 65_536)


class Metrics:
    """Counts requests and passes.

    Args:
        waiting: gives (texts, tokens) that wait or run now.

    Attributes:
        paths: the paths of the server. Others are counted together, so that a scanner does not
            make a series for each of its guesses.
    """

    def __init__(self, waiting: Callable[[], tuple[int, int]]) -> None:
        self.paths: set[str] = set()
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "bothways_requests",
            "Answered requests, by path and status",
            ["path", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "bothways_request_seconds",
            "Seconds from a request's head to the end of its answer",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._texts = Counter("bothways_texts", "Encoded texts", ["model"], registry=self.registry)
        self._tokens = Counter(
            "bothways_tokens", "Encoded tokens, without filler", ["model"], registry=self.registry
        )
        self._cut = Counter(
            "bothways_truncated_texts", "Texts that were cut", ["model"], registry=self.registry
        )
        self._pass_seconds = Histogram(
            "bothways_pass_seconds",
            "Seconds of a pass",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._pass_tokens = Histogram(
            "bothways_pass_tokens",
            "Tokens of a pass",
            ["model"],
            buckets=_TOKENS,
            registry=self.registry,
        )
        for number, name in enumerate(("texts", "tokens")):
            gauge = Gauge(
                f"bothways_waiting_{name}",
                f"{name.capitalize()} that wait or run",
                registry=self.registry,
            )
            gauge.set_function(lambda number=number: waiting()[number])  # type: ignore[misc]

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        label = (
            path
            if path in self.paths
            else "/v1/models/{name}"
            if path.startswith("/v1/models/")
            else "other"
        )
        self._requests.labels(label, str(status)).inc()
        self._seconds.labels(label).observe(seconds)

    def passed(self, model: str, rows: int, tokens: int, seconds: float) -> None:
        """Count a pass."""
        self._texts.labels(model).inc(rows)
        self._tokens.labels(model).inc(tokens)
        self._pass_seconds.labels(model).observe(seconds)
        self._pass_tokens.labels(model).observe(tokens)

    def truncated(self, model: str, texts: int) -> None:
        """Count texts that were cut."""
        self._cut.labels(model).inc(texts)

    def text(self) -> bytes:
        """Write all figures."""
        return generate_latest(self.registry)
