"""Two pipelines with a worker each. Whatever becomes of the one's worker, the other loses no frame, and the hurt one comes back.

EDGE_FAULT_TIMES says how often each fault is provoked; the figures of docs/figures.md are from 20.
"""

import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from agent.core.types import Frame
from agent.pipeline.config import PipelineConfig
from agent.pipeline.mailbox import Mailbox
from agent.pipeline.pipeline import Pipeline
from agent.pipeline.results import Origin
from agent.worker.model import BACKOFF_CAP_S, ModelWorker
from agent.worker.slot import ModelSlot
from agent.worker.spawner import Spawner
from agent.worker.starting import LEAST_DEADLINE_S
from tests import faulty_runtime
from tests.fakes import RecordingPublisher
from tests.faulty import faulty_worker
from tests.faulty_runtime import SIDE
from tests.waiting import wait_until

TIMES = int(os.environ.get("EDGE_FAULT_TIMES", "2"))
PERIOD_S = 0.1  # a camera of 10 frames a second
GRACE_S = 1.0  # beyond the deadline, the backoff and the model's load time


class Camera:
    """Leaves a frame in a pipeline's mailbox every `PERIOD_S`; the next may be made to carry a fault."""

    def __init__(self, name: str, mailbox: Mailbox) -> None:
        self.frames = 0
        self.fault = faulty_runtime.FINE
        self._name = name
        self._mailbox = mailbox
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_S):
            fault, self.fault = self.fault, faulty_runtime.FINE
            pixels = np.full((SIDE, SIDE, 3), fault, np.uint8)
            self._mailbox.put(Frame(pixels, "rgb24", SIDE, SIDE, self.frames, time.monotonic_ns(), time.time_ns(), self._name))
            self.frames += 1

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._mailbox.end()


class Lane:
    """A camera, a pipeline and a worker of its own."""

    def __init__(self, name: str, spawner: Spawner) -> None:
        self.publisher = RecordingPublisher()
        self.worker: ModelWorker = faulty_worker(spawner)
        self.slot = ModelSlot(name)
        self.slot.serve(self.worker)
        self.mailbox = Mailbox(live=True)
        self.pipeline = Pipeline(
            Origin("test", "1-0000", name, name),
            PipelineConfig(source=name, model=name),
            self.mailbox,
            self.slot,
            in_flight=2,
            publisher=self.publisher,
            topic=name,
            clock_synced=lambda: True,
            on_counts=lambda _found, _mono_ns: None,
        )
        began = time.monotonic()
        assert self.worker.spec(20) is not None
        self.load_s = time.monotonic() - began
        self.pipeline.start()
        self.camera = Camera(name, self.mailbox)

    def results(self) -> int:
        return len(self.publisher.messages)

    def stop(self) -> None:
        self.camera.stop()
        self.pipeline.join()
        self.slot.close()


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    spawner = Spawner()
    yield spawner
    spawner.close()


SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP, "segfaulted": signal.SIGSEGV}
FRAMES = {
    "segfault in native code": faulty_runtime.SEGFAULT,
    "memory without bound": faulty_runtime.LEAK,
    "truncated memfd": faulty_runtime.TRUNCATE,
    "garbled reply": faulty_runtime.GARBAGE,
    "hung with signals blocked": faulty_runtime.HANG,
    "NaN": faulty_runtime.NAN,
}


def hurt_and_recover(lane: Lane, fault: str, limit_s: float) -> float:
    """Provoke a fault, wait for the next result of a new worker; returns the seconds between."""
    before, restarts = lane.results(), lane.worker.restarts
    wait_until(lambda: lane.results() > before, f"a result before: {fault}", limit_s)
    began = time.monotonic()
    if fault in SIGNALS:
        assert lane.worker.pid is not None
        os.kill(lane.worker.pid, SIGNALS[fault])
    else:
        lane.camera.fault = FRAMES[fault]
    wait_until(lambda: lane.worker.restarts > restarts, f"the restart after: {fault}", limit_s)
    failed = lane.results()
    wait_until(lambda: lane.results() > failed, f"a result after: {fault}", limit_s)
    return time.monotonic() - began


def test_a_hurt_worker_costs_no_other_pipeline_a_frame(spawner: Spawner, capsys: pytest.CaptureFixture[str]) -> None:
    hurt, other = Lane("hurt", spawner), Lane("other", spawner)
    limit_s = LEAST_DEADLINE_S + BACKOFF_CAP_S + hurt.load_s + GRACE_S
    try:
        recovery_s = {name: [hurt_and_recover(hurt, name, limit_s) for _ in range(TIMES)] for name in [*SIGNALS, *FRAMES]}
    finally:
        hurt.stop()
        other.stop()
    assert hurt.worker.restarts == TIMES * len(recovery_s)
    assert other.worker.restarts == 0
    assert (other.results(), other.mailbox.frames_dropped) == (other.camera.frames, 0)
    seqs = [json.loads(message.payload)["frame_seq"] for message in other.publisher.messages]
    assert seqs == list(range(other.camera.frames))
    with capsys.disabled():
        print(  # noqa: T201  the figures
            f"\nother pipeline: {other.results()} results of {other.camera.frames} frames; limit {limit_s:.2f} s; recovery after"
        )
        for name, times in recovery_s.items():
            print(f"  {name:27} n {len(times):3}  p50 {statistics.median(times):.2f} s  max {max(times):.2f} s")  # noqa: T201  as above
