"""What a pipeline counts."""

import threading
from collections import deque
from typing import NamedTuple

import numpy as np

KEPT = 4096  # latencies a report; more would not change its percentiles


class Tally(NamedTuple):
    """Since the start: results, failed (frames whose worker failed). Since the report before: answered, latencies in ms."""

    results: int
    failed: int
    answered: int
    latency_ms: tuple[float, float, float] | None  # p50, p95, p99; None without a frame


class Counters:
    """Written by a pipeline, read and started over by each health report."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results = self._failed = self._answered = 0
        self._latencies_ms: deque[float] = deque(maxlen=KEPT)

    def answered(self, latency_ms: float) -> None:
        """A frame has been through the model."""
        with self._lock:
            self._answered += 1
            self._latencies_ms.append(latency_ms)

    def failed(self) -> None:
        """A frame was lost with its worker."""
        with self._lock:
            self._failed += 1

    def published(self) -> None:
        """A result went out."""
        with self._lock:
            self._results += 1

    def report(self) -> Tally:
        """The tally; what counts from one report to the next starts over."""
        with self._lock:
            latencies = list(self._latencies_ms)
            answered, self._answered = self._answered, 0
            self._latencies_ms.clear()
            results, failed = self._results, self._failed
        p50, p95, p99 = (float(p) for p in np.percentile(latencies, (50, 95, 99))) if latencies else (0.0, 0.0, 0.0)
        return Tally(results, failed, answered, (p50, p95, p99) if latencies else None)
