"""A pipeline: takes its source's frames, asks its model, and publishes what its filters leave."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.core.spec import ModelSpec
from agent.errors import AgentError, SourceError
from agent.health.counters import Counters
from agent.pipeline.config import PipelineConfig
from agent.pipeline.filters import Filter, PublishPolicy, counts, thresholds_for
from agent.pipeline.mailbox import Mailbox
from agent.pipeline.results import Origin, make_result
from agent.pipeline.snapshot import Snapshot, jpeg
from agent.publish import Publisher
from agent.publish.messages import encode_result
from agent.worker.inference import Answer, Inference
from agent.worker.model import ModelWorker
from agent.worker.starting import InputSlot

log = logging.getLogger(__name__)

LOOK_S = 0.2  # how often a waiting pipeline sees whether it is to stop
SNAPSHOT_S = 5.0  # for a frame to come
DRAIN_S = 1.5  # for frames that are under way when a pipeline ends


@dataclass(frozen=True, slots=True)
class _Use:
    """How frames go through a model, made anew where the slot's model becomes another."""

    spec: ModelSpec
    inference: Inference
    done: Callable[[Answer], None]


class Pipeline:
    """Runs in a thread of its own; answers come on the model worker's thread, in frame order."""

    def __init__(
        self,
        origin: Origin,
        config: PipelineConfig,
        mailbox: Mailbox,
        worker: ModelWorker,
        in_flight: int,
        publisher: Publisher,
        topic: str,
        clock_synced: Callable[[], bool],
        on_counts: Callable[[dict[str, int], int], None],
    ) -> None:
        """in_flight: frames that it may have at the model. on_counts: told what each frame shows, and its mono_ns."""
        self.name = origin.pipeline
        self.config = config
        self.mailbox = mailbox
        self.counters = Counters()
        self._origin = origin
        self._worker = worker
        self._publisher = publisher
        self._topic = topic
        self._clock_synced = clock_synced
        self._on_counts = on_counts
        self._in_flight = in_flight
        self._permits = threading.Semaphore(in_flight)
        self._policy = PublishPolicy(config.publish)
        self._seq = 0
        self._snapshot = Snapshot()
        self._resumed = threading.Event()
        self._resumed.set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pipeline/{self.name}")

    def start(self) -> None:
        """Begin to take frames, once the model's spec is known."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether frames may still be answered."""
        return self._thread.is_alive()

    @property
    def paused(self) -> bool:
        """Whether it takes no frames, because somebody wants it so."""
        return not self._resumed.is_set()

    def pause(self) -> None:
        """Take no more frames until `resume`; the one that is under way is still answered. A batch source waits meanwhile."""
        self._resumed.clear()

    def resume(self) -> None:
        """Take frames again."""
        self._resumed.set()

    def snapshot(self) -> bytes:
        """The next frame as JPEG of at most `agent.pipeline.snapshot.MAX_JPEG_BYTES`. SourceError where none comes."""
        if self.paused:
            raise SourceError(f"pipeline {self.name} is paused: it takes no pictures before it is resumed", reason="read_timeout")
        frame = self._snapshot.take(SNAPSHOT_S)
        if frame is None:
            raise SourceError(f"pipeline {self.name}: no frame has come within {SNAPSHOT_S:g} s", reason="read_timeout")
        return jpeg(frame)

    def stop(self) -> None:
        """Answer what is under way, then end."""
        self._stopping.set()

    def join(self) -> None:
        """Wait for the end: that of its source, or `stop`."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            spec = self._spec()
            if spec is not None:
                self._take_frames(spec)
        except AgentError as error:
            log.debug("pipeline %s ends: %s", self.name, error)  # its model has given up, which the app reports
        finally:
            self.mailbox.end()  # its source must not wait for it
        deadline = time.monotonic() + DRAIN_S
        for _ in range(self._in_flight):
            self._permits.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def _spec(self) -> ModelSpec | None:
        while not self._stopping.is_set():
            spec = self._worker.spec(LOOK_S)
            if spec is not None:
                return spec
        return None

    def _take_frames(self, spec: ModelSpec) -> None:
        use = self._use(spec)
        while not (self._stopping.is_set() or self.mailbox.over):
            if not self._resumed.wait(LOOK_S):
                continue
            if not self.mailbox.live and not self._publisher.wait_ready(LOOK_S):
                continue
            if not self._permits.acquire(timeout=LOOK_S):
                continue
            slot = self._worker.acquire(LOOK_S)
            if slot is not None and slot.spec is not use.spec:
                use = self._use(slot.spec)
            if slot is None or not self._feed(use, slot):
                self._permits.release()

    def _use(self, spec: ModelSpec) -> _Use:
        keep = Filter(spec, self.config)
        for label in sorted(keep.unknown):
            log.warning("pipeline %s: the model %s has no label %r", self.name, spec.name, label)

        def done(answer: Answer) -> None:
            self._answered(spec, keep, answer)
            self._permits.release()

        return _Use(spec, Inference(self._worker, spec, thresholds_for(spec, self.config)), done)

    def _feed(self, use: _Use, slot: InputSlot) -> bool:
        """Ask the model about the next frame, if there is one. The slot came first, so that the frame is the latest."""
        frame = self.mailbox.get(LOOK_S)
        if frame is None:
            self._worker.give_back(slot)
            return False
        self._snapshot.offer(frame)
        use.inference.submit(slot, frame, use.done)
        return True

    def _answered(self, spec: ModelSpec, keep: Filter, answer: Answer) -> None:
        if answer.prediction is None:
            self.counters.failed()
            return
        total_ms = (time.monotonic_ns() - answer.frame.mono_ns) / 1e6
        self.counters.answered(total_ms)
        kept = keep(answer.prediction)
        found = counts(kept, spec)
        self._on_counts(found, answer.frame.mono_ns)
        if not self._policy.wants(found, answer.frame.mono_ns):
            return
        self._seq += 1
        result = make_result(
            self._origin, spec, answer, kept, found, seq=self._seq, total_ms=total_ms, clock_synced=self._clock_synced()
        )
        if self._publisher.publish(self._topic, encode_result(result)):
            self.counters.published()
