"""What is counted and measured, for Prometheus. One registry of our own, made by the daemon.

Labels are names that people declared (servers, datasets, runs) or words of ours (outcomes, routes);
never ids of jobs, never names of people: both would grow without end, and a name is nobody else's
business.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from events.envelope import NewEvent
from events.job import AnnotationsObserved
from events.server import DeliveriesFilled

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
# From a fast disk's sync to a queue that is as good as stuck.
APPEND_BUCKETS_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip


class Metrics:
    """Everything under `/metrics`. Counters are moved where things happen, gauges when asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self.requests = self._counter(
            "http_requests", "Requests by route and status.", "method", "route", "status"
        )
        self.webhooks = self._counter(
            "webhooks",
            "Deliveries: received, duplicate, refused; missed: found in the server's own list;"
            " unheard: changes of jobs that no delivery accounted for when they were read.",
            "server",
            "outcome",
        )
        self.append_s = Histogram(
            "labeltrail_append_seconds",
            "From the order to append until it is on disk.",
            buckets=APPEND_BUCKETS_S,
            registry=self.registry,
        )
        self.queue = self._gauge("store_queue_appends", "Appends that wait to be written.")
        self.queue_bytes = self._gauge("store_queue_bytes", "Their size.")
        self.position = self._gauge("log_position", "The last position of the log.")
        self.checkpoint = self._gauge(
            "checkpoint_position", "The last position under a signed checkpoint."
        )
        self.checkpoint_age_s = self._gauge(
            "checkpoint_age_seconds", "Age of the last event under it; NaN before the first."
        )
        self.projected = self._gauge(
            "projection_lag_positions", "Events that the projections do not show yet."
        )
        self.projected_s = self._gauge("projection_lag_seconds", "Age of the oldest of them.")
        self.sync_lag_s = self._gauge(
            "sync_lag_seconds",
            "Age of the oldest observation of a run that is not settled or not merged; after a"
            " start of the daemon an unmerged one may be older than that.",
            "dataset",
            "run",
        )
        self.pending = self._gauge("pending", "What waits for a decision.", "dataset", "what")
        self.jobs = self._gauge("jobs", "Jobs by condition.", "server", "condition")
        self.unreadable_rows = self._gauge(
            "unreadable_rows", "Rows of the server's lists that cannot be read.", "server", "list"
        )
        self.verify_ok = self._gauge(
            "verify_ok", "1 if the last `verify` found nothing wrong, 0 if it did, NaN before it."
        )
        self.verify_age_s = self._gauge("verify_age_seconds", "Age of that result.")

        # Finding a series by its labels costs more than counting, and webhooks come by thousands.
        self._request_series = cache(self.requests.labels)
        self._webhook_series = cache(self.webhooks.labels)

    def requested(self, method: str, route: str, status: str, count: int = 1) -> None:
        """Count requests."""
        self._request_series(method, route, status).inc(count)

    def delivered(self, server: str, outcome: str, count: int = 1) -> None:
        """Count deliveries, or what there was none for."""
        self._webhook_series(server, outcome).inc(count)

    def appended(self, events: Sequence[NewEvent], seconds: float) -> None:
        """Hear of an append that is on disk."""
        self.append_s.observe(seconds)
        for event in events:
            match event.fact:
                case DeliveriesFilled(new=new) if new:
                    self._missed(event.stream, "missed", new)
                # A first look has no `since`: nothing was saved, so nothing was missed.
                case AnnotationsObserved(since=str()) if event.evidence == "unknown":
                    self._missed(event.stream, "unheard", 1)

    def text(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self.registry)

    def _missed(self, stream: str, outcome: str, count: int) -> None:
        # `server/<name>`, or `job/<name>/<id>`.
        self.delivered(stream.split("/")[1], outcome, count)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"labeltrail_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"labeltrail_{name}", about, labels, registry=self.registry)
