"""What is seen of a model while it serves: figures for whoever judges it, and the gap of a switch."""

import contextlib
import time
from collections import deque
from typing import NamedTuple

import numpy as np

from agent.errors import AgentError, WorkerError, WorkerFailure
from agent.worker.memory import own_memory_bytes
from agent.worker.model import ModelWorker

RECENT = 512  # frames that percentiles and the rate are of
KEPT_PAIRS = 4096
KEPT_FAILURES = 16  # the first: a committed model is restarted for ever


class Failure(NamedTuple):
    """How a worker failed. detail: one line."""

    kind: WorkerFailure
    detail: str


class Pair(NamedTuple):
    """How many things two models found in the same frame."""

    candidate: int
    standby: int


class ProbationFigures(NamedTuple):
    """Of a worker since it began to serve.

    invoked: frames that it has answered. failures: the first of them. p50_ms, p99_ms: of its inferences, over the recent ones; None
    without any. memory_bytes: the most that was read, as `own_memory_bytes`. fps: frames answered a second, over the recent ones.
    """

    invoked: int = 0
    failures: tuple[Failure, ...] = ()
    p50_ms: float | None = None
    p99_ms: float | None = None
    memory_bytes: int = 0
    pairs: tuple[Pair, ...] = ()
    fps: float = 0.0


class Watch:
    """Gathers the figures of one worker; its owner locks."""

    def __init__(self, worker: ModelWorker | None = None) -> None:
        self.worker = worker  # None: over, the figures stay
        self._invoked = 0
        self._recent_ms: deque[float] = deque(maxlen=RECENT)
        self._recent_ns: deque[int] = deque(maxlen=RECENT)
        self._failures: list[Failure] = []
        self._pairs: deque[Pair] = deque(maxlen=KEPT_PAIRS)
        self._memory_bytes = 0

    def answered(self, inference_ms: float, now_ns: int) -> None:
        """It has answered a frame."""
        self._invoked += 1
        self._recent_ms.append(inference_ms)
        self._recent_ns.append(now_ns)

    def failed(self, error: AgentError) -> None:
        """It has failed."""
        if len(self._failures) == KEPT_FAILURES:
            return
        self._failures.append(Failure(error.kind if isinstance(error, WorkerError) else "load", str(error)))

    def compared(self, pair: Pair) -> None:
        """A frame has been answered by the standby, too."""
        self._pairs.append(pair)

    def end(self) -> None:
        """The worker goes."""
        self._look_at_memory()
        self.worker = None

    def figures(self) -> ProbationFigures:
        """All of that, now."""
        self._look_at_memory()
        p50, p99 = (float(p) for p in np.percentile(self._recent_ms, (50, 99))) if self._recent_ms else (None, None)
        since_s = (time.monotonic_ns() - self._recent_ns[0]) / 1e9 if self._recent_ns else 0.0
        fps = len(self._recent_ns) / since_s if since_s else 0.0
        return ProbationFigures(self._invoked, tuple(self._failures), p50, p99, self._memory_bytes, tuple(self._pairs), fps)

    def _look_at_memory(self) -> None:
        pid = self.worker.pid if self.worker else None
        if pid is not None:
            with contextlib.suppress(OSError):  # it is gone
                self._memory_bytes = max(self._memory_bytes, own_memory_bytes(pid))


class Switch(NamedTuple):
    """gap_ms: the longest time between two answers, from the last one before a switch to the first one after it. frames_lost: that
    failed at workers meanwhile.
    """

    gap_ms: float
    frames_lost: int


class GapMeter:
    """Measures switches by the answers before and after; its owner locks."""

    def __init__(self) -> None:
        self.last: Switch | None = None
        self._last_ns: int | None = None
        self._longest_ns = 0
        self._lost = 0  # since the last answer, or the last before a switch
        self._switching = False

    def begin(self) -> None:
        """A switch begins; if the one before is not over, it becomes part of it."""
        if not self._switching:
            self._switching, self._longest_ns, self.last = True, 0, None

    def give_up(self) -> None:
        """The switch comes to nothing."""
        self._switching = False

    def answered(self, now_ns: int, *, after: bool) -> None:
        """A frame was answered. after: by what serves after the switch."""
        if self._switching and self._last_ns is not None:
            self._longest_ns = max(self._longest_ns, now_ns - self._last_ns)
            if after:
                self.last, self._switching = Switch(self._longest_ns / 1e6, self._lost), False
        if not self._switching:
            self._lost = 0
        self._last_ns = now_ns

    def lost(self) -> None:
        """A frame has failed at a worker."""
        self._lost += 1
