"""A pipeline: takes its source's frames, asks its model, and publishes what its filters leave."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from agent.core.types import Frame
from agent.errors import AgentError, SourceError
from agent.health.counters import Counters
from agent.pipeline.config import PipelineConfig
from agent.pipeline.filters import PublishPolicy, counts
from agent.pipeline.mailbox import Mailbox
from agent.pipeline.results import Origin, make_result
from agent.pipeline.shadow import Shadow, Shadows
from agent.pipeline.snapshot import Snapshot, jpeg
from agent.pipeline.use import Use
from agent.publish import Publisher
from agent.publish.messages import encode_result
from agent.worker.inference import Answer
from agent.worker.slot import Lease, ModelSlot

log = logging.getLogger(__name__)

LOOK_S = 0.2  # how often a waiting pipeline sees whether it is to stop
SNAPSHOT_S = 5.0  # for a frame to come
DRAIN_S = 1.5  # for frames that are under way when a pipeline is to end


class Pipeline:
    """Runs in a thread of its own; answers come on the model worker's thread, in frame order."""

    def __init__(
        self,
        origin: Origin,
        config: PipelineConfig,
        mailbox: Mailbox,
        model: ModelSlot,
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
        self._model = model
        self._shadows = Shadows(model, config)
        self._publisher = publisher
        self._topic = topic
        self._clock_synced = clock_synced
        self._on_counts = on_counts
        self._in_flight = in_flight
        self._permits = threading.Semaphore(in_flight)
        self._policy = PublishPolicy(config.publish)
        self._seq = 0
        self._snapshot = Snapshot()
        self._missed = 0  # frames that came while it was paused, of the pauses that are over
        self._paused_at = 0  # frames that had come when the newest pause began
        self._resumed = threading.Event()
        self._resumed.set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pipeline/{self.name}")

    def start(self) -> None:
        """Begin to take frames, as soon as there is a model."""
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
        if not self.paused:
            self._paused_at = self.mailbox.frames_in
        self._resumed.clear()

    def resume(self) -> None:
        """Take frames again."""
        if self.paused:
            self._missed += self.mailbox.frames_in - self._paused_at
        self._resumed.set()

    @property
    def frames_in(self) -> int:
        """That came while it was not paused."""
        return (self._paused_at if self.paused else self.mailbox.frames_in) - self._missed

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
            self._take_frames()
        finally:
            self.mailbox.end()  # its source must not wait for it
        self._at_rest(DRAIN_S)

    def _take_frames(self) -> None:
        use: Use | None = None
        while not self._stopping.is_set():
            if self.mailbox.over:
                if self._at_rest(LOOK_S) and self.mailbox.over:  # nothing that was under way has come back
                    return
                continue
            if not self._resumed.wait(LOOK_S):
                continue
            if not self.mailbox.live and not self._publisher.wait_ready(LOOK_S):
                continue
            if not self._permits.acquire(timeout=LOOK_S):
                continue
            use, fed = self._feed(use)
            if not fed:
                self._permits.release()

    def _feed(self, use: Use | None) -> tuple[Use | None, bool]:
        """Ask the model about the next frame, if there is one; returns how, and whether. The slot comes first, so that the frame is
        the latest, but is not kept while there is none.
        """
        lease = self._lease() if self.mailbox.wait(LOOK_S) else None
        if lease is None:
            return use, False
        if use is None or not use.fits(lease):
            use = Use.of(lease, self.config)
            for label in sorted(use.keep.unknown):
                log.warning("pipeline %s: the model %s has no label %r", self.name, use.spec.name, label)
        frame = self.mailbox.get(0)
        if frame is None:
            lease.worker.give_back(lease.slot)
            return use, False
        self._snapshot.offer(frame)
        shadow = self._shadows.next()
        held = frame if self._model.guarded else None
        use.inference.submit(lease.slot, frame, partial(self._settle, use, held, shadow))
        if shadow:
            shadow.submit(frame)
        return use, True

    def _lease(self) -> Lease | None:
        """None while there is no model; one that has given up is the app's to report, or to replace."""
        try:
            return self._model.acquire(LOOK_S)
        except AgentError as error:
            log.debug("pipeline %s waits: %s", self.name, error)
            self._stopping.wait(LOOK_S)
            return None

    def _at_rest(self, timeout_s: float) -> bool:
        """Wait until nothing is under way; False after the timeout."""
        deadline = time.monotonic() + timeout_s
        taken = [self._permits.acquire(timeout=max(0.0, deadline - time.monotonic())) for _ in range(self._in_flight)]
        for _ in filter(None, taken):
            self._permits.release()
        return all(taken)

    def _settle(self, use: Use, held: Frame | None, shadow: Shadow | None, answer: Answer) -> None:
        """What has become of a frame; on the worker's thread."""
        inference_ms = None if answer.prediction is None else answer.inference_ms
        if self._model.settle(use.worker, inference_ms, held=held is not None) and held is not None:
            self.mailbox.give_back(held)
        else:
            self._answered(use, shadow, answer)
        self._permits.release()

    def _answered(self, use: Use, shadow: Shadow | None, answer: Answer) -> None:
        if answer.prediction is None:
            self.counters.failed()
            return
        total_ms = (time.monotonic_ns() - answer.frame.mono_ns) / 1e6
        self.counters.answered(total_ms)
        kept = use.keep(answer.prediction)
        found = counts(kept, use.spec)
        if shadow:
            shadow.serving_found(use.worker, len(kept.class_ids))
        self._on_counts(found, answer.frame.mono_ns)
        if not self._policy.wants(found, answer.frame.mono_ns):
            return
        self._seq += 1
        result = make_result(
            self._origin, use.spec, answer, kept, found, seq=self._seq, total_ms=total_ms, clock_synced=self._clock_synced()
        )
        if self._publisher.publish(self._topic, encode_result(result)):
            self.counters.published()
