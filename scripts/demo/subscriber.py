"""Hears what the agent publishes, as any MQTT client would, and keeps what the demo shows of it."""

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.publish.messages import DetectResult
from agent.publish.orders import Reported
from agent.publish.topics import Topics
from scripts.demo.broker import HOST
from scripts.demo.score import Score, Thing, Truth

RECENT_S = 2.0  # of which the frame rate is shown
LATENCIES = 3000  # of which percentiles are shown
KEPT_FRAMES = 1800  # a minute at 30 frames a second, for the clip


class Latency(NamedTuple):
    """Percentiles, from a frame's capture to its message, in ms."""

    p50: float
    p95: float


class Subscriber:
    """Connected from entering it as a context manager to leaving it. latest: the last result, None before the first. scores: by the
    version of the model, the newest last.
    """

    def __init__(
        self,
        port: int,
        topics: Topics,
        pipeline: str,
        slot: str,
        truth: Callable[[int], Truth],
        on_reported: Callable[[Reported], None],
    ) -> None:
        """truth: what lies on the belt in the frame of a number, in pixels. on_reported: told what the device says of the slot."""
        self.scores: dict[str, Score] = {}
        self.latest: DetectResult | None = None
        self.results: deque[DetectResult] = deque(maxlen=KEPT_FRAMES)
        self.first_frame = 0
        self._port = port
        self._results = topics.results(pipeline)
        self._reported = topics.reported(slot)
        self._truth = truth
        self._on_reported = on_reported
        self._lock = threading.Lock()  # guards what is above and below
        self._first_s = self._last_s = 0.0
        self._recent_s: deque[float] = deque()
        self._latencies_ms: deque[float] = deque(maxlen=LATENCIES)
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect(HOST, self._port)
        self._client.loop_start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # else paho's sockets wait for the garbage collector
        self._client.on_connect = self._client.on_message = None

    @property
    def fps(self) -> float:
        """Results a second, lately."""
        with self._lock:
            self._forget(time.monotonic())
            return _rate(len(self._recent_s), self._recent_s[-1] - self._recent_s[0]) if self._recent_s else 0.0

    @property
    def mean_fps(self) -> float:
        """Results a second, from the first to the last."""
        with self._lock:
            return _rate(self._frames(), self._last_s - self._first_s)

    @property
    def frames(self) -> int:
        """Of which a result came."""
        with self._lock:
            return self._frames()

    @property
    def latency(self) -> Latency | None:
        """Of the last results; None before the first."""
        with self._lock:
            if not self._latencies_ms:
                return None
            p50, p95 = np.percentile(self._latencies_ms, (50, 95))
            return Latency(float(p50), float(p95))

    @property
    def lost(self) -> int:
        """Frames, from the first that was heard of to the last, for which no result came."""
        with self._lock:
            return self.latest.frame_seq + 1 - self.first_frame - self._frames() if self.latest else 0

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe([(self._results, 0), (self._reported, 1)])

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.topic == self._reported:
            self._on_reported(msgspec.json.decode(message.payload, type=Reported))
        else:
            self._take(msgspec.json.decode(message.payload, type=DetectResult))

    def _take(self, result: DetectResult) -> None:
        width, height = result.frame.width, result.frame.height
        found = [
            Thing(one.label, (one.box[0] * width, one.box[1] * height, one.box[2] * width, one.box[3] * height))
            for one in result.detections
        ]
        truth = self._truth(result.frame_seq)
        now = time.monotonic()
        with self._lock:
            if self.latest is None:
                self.first_frame, self._first_s = result.frame_seq, now
            self.latest, self._last_s = result, now
            self.results.append(result)
            self.scores.setdefault(result.model.version, Score()).add(truth, found)
            self._latencies_ms.append(result.latency_ms.total)
            self._recent_s.append(now)
            self._forget(now)

    def _frames(self) -> int:
        return sum(score.frames for score in self.scores.values())

    def _forget(self, now: float) -> None:
        while self._recent_s and self._recent_s[0] < now - RECENT_S:
            self._recent_s.popleft()


def _rate(results: int, seconds: float) -> float:
    return (results - 1) / seconds if seconds else 0.0
