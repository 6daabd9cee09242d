"""The agent's side of a model worker: keeps one running, hands out input slots, takes requests, delivers checked predictions."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from agent.backoff import Backoff
from agent.core.spec import ModelSpec, Thresholds
from agent.core.types import Prediction
from agent.errors import AgentError, BundleError, WorkerError
from agent.runtimes import ModelReport
from agent.worker.chain import ChainPolicy, DelegateChain
from agent.worker.protocol import Infer, Inferred, TensorView
from agent.worker.replies import check_prediction
from agent.worker.spawner import Spawner
from agent.worker.starting import InputSlot, ModelPlan, Process, Rung, Serving, Start, Trial, unwrap

log = logging.getLogger(__name__)

BACKOFF_FIRST_S, BACKOFF_CAP_S = 0.1, 2.0
CLEAN_S = 60.0  # a worker that has served so long starts the backoff over
CLOSING_LOOK_S = 0.1
CHANGING_LOOK_S = 0.005  # while a better worker is on its way, for which frames should not wait longer than need be

State = Literal["loading", "running", "restarting", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request. prediction: None where the worker failed; boxes are in pixels of the model's input."""

    prediction: Prediction | None
    inference_ms: float = 0.0
    postprocess_ms: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    message: Infer
    slot: InputSlot
    done: Callable[[Outcome], None]


class ModelWorker:
    """A model slot's worker: one thread starts it, reads its answers, and starts another when it fails, until `close`.

    Requests are answered in the order in which they were submitted, each by one call of its `done` on that thread. Where on the
    chain of variants and delegates it runs, `DelegateChain` decides. The way up is tried beside the worker that serves; the better
    one takes over between two requests.
    """

    def __init__(
        self,
        name: str,
        plan: ModelPlan,
        slots: int,
        spawner: Spawner,
        on_change: Callable[["ModelWorker"], None] = lambda _worker: None,
        *,
        restart: bool = True,
        policy: ChainPolicy | None = None,
    ) -> None:
        """on_change: called after each change of `state`, and where another rung of the chain serves; whoever takes the worker over
        may put its own in place.

        restart: False gives up on the first failure, for commands that do one thing and end, and for a model that is on trial.
        """
        self.name = name
        self.state: State = "loading"
        self.failure: AgentError | None = None  # the last, while it is not running
        self.restarts = 0
        self.rungs = plan.rungs()
        self.rung = 0  # what serves, or did last, of `rungs`
        self._plan = plan
        self._count = slots
        self._spawner = spawner
        self.on_change = on_change
        self._chain = DelegateChain(len(self.rungs), policy or ChainPolicy())
        self._changed = threading.Condition()  # guards what follows
        self._closing = threading.Event()
        self._restart = restart
        self._given_up: AgentError | None = None
        self._released = False  # what is shared with a worker, by `close`
        self._ended = False  # no worker will come any more
        self._start = Start(spawner, name, plan)
        self._serving: Serving | None = None  # what serves, or did last
        self._ready = False  # whether it takes requests
        self._down = True  # whether none serves, nor is about to take over
        self._trial: Trial | None = None  # of the way up
        self._free: deque[InputSlot] = deque()
        self._leased = 0  # slots that are acquired and not given back, or of whose requests it is not told yet what became of them
        self._drains = 0
        self._pending: deque[_Request] = deque()
        self._next_id = 0
        self._head_since_ns = 0
        self._backoff = Backoff(BACKOFF_FIRST_S, BACKOFF_CAP_S, at_once=True)
        self._thread = threading.Thread(target=self._run, name=f"model/{name}")

    @property
    def report(self) -> ModelReport | None:
        """What the runtime says of the model that serves, or did last; None before one has first been loaded."""
        serving = self._serving
        return serving.loaded.report if serving else None

    @property
    def refused(self) -> Mapping[str, str]:
        """See `LoadedModel`."""
        serving = self._serving
        return serving.loaded.refused if serving else {}

    @property
    def fallen(self) -> tuple[Rung, ...]:
        """The rungs that strikes have made it leave, best first."""
        return self.rungs[: self._chain.first]

    @property
    def known_spec(self) -> ModelSpec | None:
        """The model's spec, None before it has first been loaded."""
        serving = self._serving
        return serving.pool.spec if serving else None

    @property
    def given_up(self) -> AgentError | None:
        """Why no worker will come any more, if so."""
        return self._given_up

    @property
    def pid(self) -> int | None:
        """Of the worker, if there is one."""
        return self._start.pid

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

    def spec(self, timeout_s: float) -> ModelSpec | None:
        """The model's spec as soon as it is known; None after the timeout, or closed. AgentError where the worker has given up."""
        with self._changed:
            self._changed.wait_for(lambda: self._serving or self._given_up or self._closing.is_set(), timeout_s)
            if self._given_up:
                raise _bare(self._given_up)
            return self.known_spec

    def acquire(self, timeout_s: float) -> InputSlot | None:
        """A slot to write into, once the worker runs and one is free; None after the timeout, and as soon as a `drain` begins.

        AgentError where it has given up.
        """
        with self._changed:
            drains = self._drains
            self._changed.wait_for(
                lambda: self._can_give() or self._given_up or self._drains != drains or self._closing.is_set(), timeout_s
            )
            if self._given_up:
                raise _bare(self._given_up)
            if not self._can_give():
                return None
            self._leased += 1
            return self._free.popleft()

    def give_back(self, slot: InputSlot) -> None:
        """Return an acquired slot that will not be submitted."""
        with self._changed:
            self._put_back(slot)
            self._leased -= 1
            self._changed.notify_all()

    def submit(self, slot: InputSlot, thresholds: Thresholds, done: Callable[[Outcome], None]) -> None:
        """Run the model on an acquired slot. A request made while it restarts is for the new worker, if its spec is the same."""
        with self._changed:
            self._next_id += 1
            view = TensorView(0, slot.input.dtype.name, slot.input.shape)
            request = _Request(Infer(self._next_id, 0, slot.index, [[view]], thresholds), slot, done)
            over = self._ended or slot.spec is not self.known_spec
            if not over:
                self._pending.append(request)
                if self._ready and self._serving:
                    self._send(self._serving.loaded.process, request)
                elif self._down:
                    self._changed.notify_all()  # a drain may be waiting for it
                if len(self._pending) == 1:
                    self._head_since_ns = time.monotonic_ns()
        if over:
            self._fail([request])

    def drain(self, timeout_s: float) -> bool:
        """Wait until every slot has come back, and all are told what became of their requests; False after the timeout.

        Nobody may acquire one meanwhile. What waits for a worker that restarts comes to nothing.
        """
        end = time.monotonic() + timeout_s
        with self._changed:
            self._drains += 1
            self._changed.notify_all()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._leased or self._stuck(), end - time.monotonic())
                if not self._leased:
                    return True
                if not self._stuck():
                    return False
                stuck = self._take_pending()
            self._fail(stuck)

    def keep(self) -> bool:
        """From now on restart it for ever; False where it has given up already."""
        with self._changed:
            self._restart = True
            return self._given_up is None

    def stop(self) -> None:
        """Begin to end, whatever it is doing; what is under way comes to nothing."""
        with self._changed:
            self._closing.set()
            self._start.cancel()
            self._changed.notify_all()

    def close(self) -> None:
        """End it, and free what it took. Safe to call twice; on the worker's own thread, that ends when the caller returns."""
        self.stop()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with self._changed:
            released, self._released = self._released, True
        if self._serving is not None and not released:
            self._serving.pool.shared.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._live_once()
            except (BundleError, WorkerError) as caught:
                if self._closing.is_set():
                    break
                error = _bare(caught)
                if self._gives_up(error):
                    return
                if isinstance(error, BundleError):
                    self._chain.start_over()
                else:
                    self._chain.struck(time.monotonic())
                self.restarts += 1
                self._set_state("restarting", error)
                self._pause(self._backoff.next_s())
        with self._changed:
            self._ended = True
        self._fail_pending()
        self._set_state("stopped")

    def _live_once(self) -> None:
        """Workers that take over from one another, from the first one's start to the last one's end."""
        try:
            pool = self._serving.pool if self._serving else None
            serving = self._start.serve(self.rungs[self._chain.first :], self._count, pool)
            since = time.monotonic()
            try:
                while True:
                    self._take_over(serving)
                    better = self._serve(serving)
                    if better is None:
                        return
                    serving.loaded.process.end()
                    serving = better
                    self._chain.start_over()
            finally:
                self._abandon(serving.loaded.process)
                if time.monotonic() - since > CLEAN_S:
                    self._backoff.reset()
        finally:
            with self._changed:
                self._start = Start(self._spawner, self.name, self._plan)

    def _take_over(self, serving: Serving) -> None:
        """From now on requests are for this worker."""
        old = self._serving
        with self._changed:
            self.rung, self._serving = self.rungs.index(serving.loaded.rung), serving
            self._chain.serves(self.rung, time.monotonic())
            if old is None or old.pool is not serving.pool:
                self._free = deque(serving.pool.slots)
            stale = [request for request in self._pending if request.slot.spec is not serving.pool.spec]
            self._pending = deque(request for request in self._pending if request.slot.spec is serving.pool.spec)
            self._ready, self._down = True, False
            for request in self._pending:
                self._send(serving.loaded.process, request)
            self._head_since_ns = time.monotonic_ns()
            self._changed.notify_all()
        self._fail(stale)
        if old is not None and old.pool is not serving.pool:
            old.pool.shared.close()
        self._set_state("running")

    def _serve(self, serving: Serving) -> Serving | None:
        """Deliver answers until `close`, or until a better worker is there and may take over: returns the better one."""
        process = serving.loaded.process
        while not self._closing.is_set():
            with self._changed:
                if better := self._better(serving):
                    return better
                due_ns = self._head_since_ns + serving.deadline_ns if self._pending else None
            look_ns = time.monotonic_ns() + int((CHANGING_LOOK_S if self._trial else CLOSING_LOOK_S) * 1e9)
            message = process.receive(look_ns if due_ns is None else min(look_ns, due_ns))
            if message is not None:
                self._deliver(serving, unwrap(process, message, Inferred))
            elif due_ns is not None and due_ns <= look_ns:
                raise WorkerError(f"{self.name}: no answer within {serving.deadline_ns / 1e9:.1f} s", "deadline")
        return None

    def _better(self, serving: Serving) -> Serving | None:
        """Try the way up when it is due; what that has brought, as soon as it can take over without losing a frame."""
        trial, now = self._trial, time.monotonic()
        if trial is None:
            if self._restart and self._chain.due_up(now):
                self._trial = Trial(Start(self._spawner, self.name, self._plan), self.rungs[: self.rung], serving.pool)
        elif trial.done.is_set():
            better = trial.serving
            if better is None:
                self._trial = None
                self._chain.tried_up(now)
            # of the same slots those that are not submitted yet may be out; they are good for the better worker, too
            elif len(self._free) == self._count if better.pool is not serving.pool else not self._pending:
                self._start, self._trial, self._ready = trial.start, None, False
                return better
        return None

    def _deliver(self, serving: Serving, answer: Inferred) -> None:
        with self._changed:
            if not self._pending or self._pending[0].message.id != answer.id:
                raise WorkerError(f"{self.name}: the worker answered a request that is not the next", "protocol")
            request = self._pending[0]
        try:
            (arrays,) = answer.items
            prediction = check_prediction(arrays, serving.pool.spec, request.message.thresholds, request.slot.output)
        except ValueError as error:
            raise WorkerError(f"{self.name}: the worker's answer is wrong: {error}", "protocol") from None
        with self._changed:
            self._pending.popleft()
            self._head_since_ns = time.monotonic_ns()
            self._put_back(request.slot)
            self._changed.notify_all()
        request.done(Outcome(prediction, answer.inference_ms, answer.postprocess_ms))
        self._told(1)

    def _can_give(self) -> bool:
        """Whether a slot may be taken: not while a better worker waits for those that are out."""
        return self._ready and bool(self._free) and not (self._trial and self._trial.serving)

    def _stuck(self) -> bool:
        """Whether requests wait for a worker that is not there."""
        return bool(self._pending) and self._down

    def _told(self, requests: int) -> None:
        """So many have heard what became of their requests."""
        with self._changed:
            self._leased -= requests
            if not self._leased:
                self._changed.notify_all()

    def _put_back(self, slot: InputSlot) -> None:
        if slot.spec is self.known_spec:
            self._free.append(slot)

    def _send(self, process: Process, request: _Request) -> None:
        try:
            process.send(request.message)
        except WorkerError as error:
            log.debug("%s; the thread that reads will see it too", error)

    def _abandon(self, process: Process) -> None:
        """End a process and what was under way in it, and beside it."""
        with self._changed:
            self._ready, self._down = False, True
            trial, self._trial = self._trial, None
        process.end()
        self._fail_pending()
        if trial:
            trial.cancel()

    def _fail_pending(self) -> None:
        """What is under way comes to nothing."""
        with self._changed:
            failed = self._take_pending()
        self._fail(failed)

    def _take_pending(self) -> list[_Request]:
        taken = list(self._pending)
        self._pending.clear()
        return taken

    def _fail(self, requests: list[_Request]) -> None:
        with self._changed:
            for request in requests:
                self._put_back(request.slot)
            self._changed.notify_all()
        for request in requests:
            request.done(Outcome(None))
        self._told(len(requests))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(self._closing.is_set, seconds)

    def _gives_up(self, error: AgentError) -> bool:
        """Whether it is not restarted."""
        # A model that has run before is restarted for ever: its disk may be in trouble, or its file half-copied.
        with self._changed:
            if self._restart and not (isinstance(error, BundleError) and self._serving is None):
                return False
            self._given_up, self._ended = error, True
            self._changed.notify_all()
        self._fail_pending()
        self._set_state("failed", error)
        return True

    def _set_state(self, state: State, failure: AgentError | None = None) -> None:
        self.state, self.failure = state, failure
        self.on_change(self)


def _bare(error: AgentError) -> AgentError:
    """The error without the frames that it came through: whoever keeps it would keep a closed worker's memory with them. Each time
    that it is raised again adds some.
    """
    error.__context__ = None
    return error.with_traceback(None)
