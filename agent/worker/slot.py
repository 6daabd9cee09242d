"""A model slot: what pipelines ask, whichever worker serves; switches between two frames, and back."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from agent.core.spec import ModelSpec
from agent.errors import AgentError, WorkerError
from agent.worker.model import ModelWorker, State
from agent.worker.starting import InputSlot
from agent.worker.watch import GapMeter, Pair, ProbationFigures, Switch, Watch

FALL_S = 0.5  # for a model that is being left to answer what it has
VACATE_S = 5.0

SlotState = Literal["absent"] | State


class Lease(NamedTuple):
    """An input slot, and the worker that it is of."""

    worker: ModelWorker
    slot: InputSlot


class ModelSlot:
    """Holds the worker that serves, and during probation the standby, the one that served before and stays warm.

    Whoever serves is changed between two frames: no leases are given until all have come back and all their answers are told. So
    answers stay in frame order, and each frame is asked of one model. A frame that fails with a guarded worker is its pipeline's
    to submit again, see `settle`.
    """

    def __init__(self, name: str, on_change: Callable[["ModelSlot"], None] = lambda _slot: None) -> None:
        """on_change: called, from any thread, after each change of `state`, and where another model or another rung serves."""
        self.name = name
        self.fallen: AgentError | None = None  # what made it fall back from the newest candidate by itself
        self._on_change = on_change
        # Held while it changes who serves; nobody waits for a worker's thread to end meanwhile, which may be waiting for this.
        self._changing = threading.Lock()
        self._changed = threading.Condition()  # guards what follows
        self._worker: ModelWorker | None = None
        self._standby: ModelWorker | None = None
        self._open = False  # whether leases are given
        self._guarded = False  # whether the worker's first failure makes the standby serve
        self._falling = False  # whether that is under way
        self._closed = False
        self._watch = Watch()
        self._gap = GapMeter()

    @property
    def worker(self) -> ModelWorker | None:
        """What serves."""
        return self._worker

    @property
    def standby(self) -> ModelWorker | None:
        """What served before, during probation."""
        return self._standby

    @property
    def state(self) -> SlotState:
        """That of what serves, `absent` without it."""
        with self._changed:
            if self._worker is None:
                return "absent"
            return "restarting" if self._guarded and self._worker.given_up else self._worker.state

    @property
    def watch(self) -> ProbationFigures:
        """Of what serves, or did last, since it began to serve."""
        with self._changed:
            return self._watch.figures()

    def last_switch(self) -> Switch | None:
        """The newest change of what serves; None until the first answer after it."""
        with self._changed:
            return self._gap.last

    # --- for pipelines

    def spec(self, timeout_s: float) -> ModelSpec | None:
        """See `ModelWorker`, of what serves; None, too, while nothing does."""
        end = time.monotonic() + timeout_s
        with self._changed:
            self._changed.wait_for(lambda: self._worker is not None, timeout_s)
            worker = self._worker
        try:
            return worker.spec(max(0.0, end - time.monotonic())) if worker else None
        except AgentError:
            if worker is not None and self._stays(worker, end):
                raise
            return None

    def acquire(self, timeout_s: float) -> Lease | None:
        """See `ModelWorker`, of what serves; None, too, while nothing does."""
        end = time.monotonic() + timeout_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._open, end - time.monotonic())
                worker = self._worker if self._open else None
            if worker is None:
                return None
            try:
                slot = worker.acquire(max(0.0, end - time.monotonic()))
            except AgentError:
                if self._stays(worker, end):
                    raise
                slot = None
            if slot is not None:
                with self._changed:
                    if self._open and worker is self._worker:
                        return Lease(worker, slot)
                worker.give_back(slot)
            if time.monotonic() >= end:
                return None

    def shadow(self) -> Lease | None:
        """A slot of the standby, if there is one and it has one free at once."""
        standby = self._standby
        slot = None
        if standby is not None:
            with contextlib.suppress(AgentError):
                slot = standby.acquire(0)
        return Lease(standby, slot) if standby and slot else None

    @property
    def guarded(self) -> bool:
        """Whether frames that are submitted now should be held: if they fail, they are to be submitted once more."""
        return self._guarded

    def settle(self, worker: ModelWorker, inference_ms: float | None, *, held: bool) -> bool:
        """A pipeline tells what became of a frame. inference_ms: None where the worker failed. held: it still has the frame.

        True where it is to be submitted once more: the standby is about to serve.
        """
        now_ns = time.monotonic_ns()
        with self._changed:
            if inference_ms is not None:
                self._gap.answered(now_ns, after=self._open and worker is self._worker)
                if worker is self._watch.worker:
                    self._watch.answered(inference_ms, now_ns)
                return False
            if held and self._guarded and worker is self._worker:
                self._falling = True
                return True
            self._gap.lost()
            return False

    def compared(self, worker: ModelWorker, candidate: int, standby: int) -> None:
        """A pipeline tells how many things a worker that served found in a frame, and the standby in the same one."""
        with self._changed:
            if worker is self._watch.worker:
                self._watch.compared(Pair(candidate, standby))

    # --- for whoever decides what serves

    def serve(self, worker: ModelWorker) -> None:
        """Take a worker, started or not yet, as what serves, in a slot that has none. WorkerError where the slot is closed, or the
        worker has given up: it is still the caller's then.
        """
        with self._changing, self._changed:
            self._refuse_if_closed()
            worker.on_change = self._worker_changed
            if not worker.keep():
                raise self._dead(worker)
            self.fallen, self._watch = None, Watch(worker)
            self._point_to(worker)
        self._on_change(self)

    def switch(self, candidate: ModelWorker, *, keep_standby: bool, timeout_s: float) -> None:
        """A running worker takes over between two frames. keep_standby: what served stays warm, and serves again at once if the
        candidate fails before `commit`; without, or where what served has given up, that is closed, and the candidate is restarted
        from now on.

        WorkerError where the candidate does not run any more, or what serves has not answered within the timeout: that goes on
        serving then, and the candidate is still the caller's.
        """
        with self._changing:
            old = self._shut()
            try:
                if old is not None:
                    self._rest(old, timeout_s)
                standby = old if keep_standby and old is not None and old.given_up is None else None
                leaving = self._take_over(candidate, old, standby)
            except WorkerError:
                with self._changed:
                    self._gap.give_up()
                    self._open = self._worker is not None and not self._closed
                    self._changed.notify_all()
                raise
        _close(leaving)
        self._on_change(self)

    def vacate(self) -> None:
        """Answer what is under way, then close what serves, and the standby: pipelines wait."""
        with self._changing:
            old = self._shut()
            if old is not None:
                old.drain(VACATE_S)
            with self._changed:
                leaving = [old, self._standby]
                self._watch.end()
                self._point_to(None)
        _close(leaving)
        self._on_change(self)

    def fall_back(self) -> bool:
        """The standby serves again, and what served is closed. False without a standby."""
        worker = self._worker
        fell = worker is not None and self._fall(worker)
        if fell:
            self._on_change(self)
        return fell

    def commit(self) -> None:
        """What serves is restarted for ever from now on; the standby is no longer needed. AgentError where it has failed."""
        with self._changing, self._changed:
            if self.fallen is not None:
                raise self.fallen
            if self._worker is None or (self._guarded and (self._falling or not self._worker.keep())):
                raise WorkerError(f"{self.name}: the candidate has just failed", "crashed")
            self._guarded = False

    def drop_standby(self) -> None:
        """Close the standby, if there is one and it is not about to serve; as `commit`."""
        with self._changing, self._changed:
            if self._guarded and (self._falling or not (self._worker and self._worker.keep())):
                return
            leaving, self._standby, self._guarded = self._standby, None, False
        _close([leaving])

    def close(self) -> None:
        """Close all its workers. Its pipelines have ended before."""
        with self._changed:
            self._closed, self._open = True, False
            leaving = [self._worker, self._standby]
            self._changed.notify_all()
        _close(leaving)

    def _shut(self) -> ModelWorker | None:
        """Give no more leases, for a switch; returns what serves."""
        with self._changed:
            self._open = False
            self._gap.begin()
            return self._worker

    def _rest(self, worker: ModelWorker, timeout_s: float) -> None:
        if not worker.drain(timeout_s):
            raise WorkerError(f"{self.name}: what serves has not come to rest within {timeout_s:.1f} s", "deadline")

    def _take_over(self, candidate: ModelWorker, old: ModelWorker | None, standby: ModelWorker | None) -> list[ModelWorker | None]:
        """Point to the candidate, if it runs; returns what is to be closed."""
        with self._changed:
            self._refuse_if_closed()
            candidate.on_change = self._worker_changed  # before the look at whether it runs, lest its failure is overlooked
            if candidate.state != "running" or not (candidate.given_up is None if standby else candidate.keep()):
                raise self._dead(candidate)
            leaving = [self._standby] if standby else [self._standby, old]
            self.fallen, self._watch = None, Watch(candidate)
            self._point_to(candidate, standby)
            return leaving

    def _dead(self, worker: ModelWorker) -> WorkerError:
        return WorkerError(f"{self.name}: the candidate does not run: {worker.failure or worker.given_up}", "load")

    def _point_to(self, worker: ModelWorker | None, standby: ModelWorker | None = None) -> None:
        self._worker, self._standby, self._guarded, self._falling = worker, standby, standby is not None, False
        self._open = worker is not None and not self._closed
        self._changed.notify_all()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise WorkerError(f"{self.name}: the slot is closed", "load")

    def _fall(self, worker: ModelWorker) -> bool:
        """Point to the standby, if `worker` serves and there is one, once all of its frames are settled."""
        with self._changing:
            with self._changed:
                if worker is not self._worker or self._standby is None:
                    return False
                self._falling = True
            self._shut()
            if not worker.drain(FALL_S):
                worker.stop()
                worker.drain(VACATE_S)
            with self._changed:
                self.fallen, self._watch = worker.given_up, Watch(self._standby)
                self._point_to(self._standby)
        worker.close()
        return True

    def _stays(self, worker: ModelWorker, end: float) -> bool:
        """Whether a worker that has given up is not about to be replaced. end: until when to wait, of the monotonic clock."""
        with self._changed:
            if worker is self._worker and self._guarded:
                self._changed.wait_for(lambda: worker is not self._worker, end - time.monotonic())
            return worker is self._worker and not self._guarded

    def _worker_changed(self, worker: ModelWorker) -> None:
        with self._changed:
            if worker is not self._worker:
                return
            if worker.failure is not None:
                self._watch.failed(worker.failure)
            falls = self._guarded and worker.given_up is not None
        if falls:
            self._fall(worker)
        self._on_change(self)


def _close(workers: list[ModelWorker | None]) -> None:
    for worker in workers:
        if worker is not None:
            worker.close()
