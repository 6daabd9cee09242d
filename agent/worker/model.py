"""The agent's side of a model worker: keeps one running, hands out input slots, takes requests, delivers checked predictions."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.backoff import Backoff
from agent.core.spec import ModelSpec, Thresholds
from agent.core.types import Prediction
from agent.errors import AgentError, BundleError, WorkerError
from agent.runtimes import ModelReport, RuntimeOptions
from agent.worker import protocol
from agent.worker.process import WorkerProcess
from agent.worker.protocol import Fault, Infer, Inferred, Load, Loaded, Prepare, Ready, Slots, TensorView
from agent.worker.replies import check_prediction, output_bytes
from agent.worker.slots import ALIGNMENT, SharedSlots
from agent.worker.spawner import Spawner

log = logging.getLogger(__name__)

LOAD_S = 120.0  # a large model from a slow card, compiled for an accelerator
LEAST_DEADLINE_S = 1.0
DEADLINE_P99S = 5.0
BACKOFF_FIRST_S, BACKOFF_CAP_S = 0.1, 2.0
CLEAN_S = 60.0  # a worker that has lived so long starts the backoff over
CLOSING_LOOK_S = 0.1

State = Literal["loading", "running", "restarting", "failed", "stopped"]
Process = WorkerProcess[protocol.FromModelWorker]
Answer = TypeVar("Answer", Loaded, Ready, Inferred)
_decoder = msgspec.msgpack.Decoder(protocol.FromModelWorker)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What to load. runtime: "module:Class"."""

    path: str
    runtime: str
    options: RuntimeOptions
    memory_limit_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request. prediction: None where the worker failed; boxes are in pixels of the model's input."""

    prediction: Prediction | None
    inference_ms: float = 0.0
    postprocess_ms: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class InputSlot:
    """A slot to write a model's input into; the writer's until it is submitted or given back. output: where large answers come."""

    index: int
    input: NDArray[Any]
    output: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    message: Infer
    slot: InputSlot
    done: Callable[[Outcome], None]


def start_process(spawner: Spawner, name: str, file: ModelFile) -> Process:
    """A model worker that has nothing loaded yet."""
    return Process(spawner, "agent.worker.model_child", name, _decoder, file.memory_limit_bytes)


def load_model(process: Process, file: ModelFile) -> ModelReport:
    """Load a model in a worker. BundleError where the file is at fault, WorkerError where the worker fails."""
    process.send(Load(0, file.runtime, file.path, file.options))
    return _wait(process, Loaded, f"loading {file.path}").report


def _wait(process: Process, kind: type[Answer], doing: str) -> Answer:
    message = process.receive(time.monotonic_ns() + int(LOAD_S * 1e9))
    if message is None:
        raise WorkerError(f"{process.name}: no answer within {LOAD_S:.0f} s while {doing}", "deadline")
    return _unwrap(process, message, kind)


def _unwrap(process: Process, message: protocol.FromModelWorker, kind: type[Answer]) -> Answer:
    """The message, if it is of a kind; what a Fault says otherwise."""
    if isinstance(message, kind):
        return message
    if not isinstance(message, Fault):
        raise WorkerError(f"{process.name}: the worker sent {type(message).__name__} for {kind.__name__}", "protocol")
    if message.rejected:
        raise BundleError(message.message)
    raise WorkerError(f"{process.name}: the worker failed: {message.message}", "crashed")


def _input_bytes(spec: ModelSpec) -> int:
    """What a model's input takes of a slot."""
    return math.ceil(math.prod(spec.tensor.shape) * np.dtype(spec.tensor.dtype).itemsize / ALIGNMENT) * ALIGNMENT


class ModelWorker:
    """A model slot's worker: one thread starts it, reads its answers, and starts another when it fails, until `close`.

    Requests are answered in the order in which they were submitted, each by one call of its `done` on that thread.
    """

    def __init__(
        self,
        name: str,
        file: ModelFile,
        resolve: Callable[[ModelReport], ModelSpec],
        slots: int,
        spawner: Spawner,
        on_change: Callable[["ModelWorker"], None] = lambda _worker: None,
        *,
        restart: bool = True,
    ) -> None:
        """resolve: decides the model's spec from what the runtime reports. on_change: called after each change of `state`.

        restart: False gives up on the first failure, for commands that do one thing and end.
        """
        self.name = name
        self.state: State = "loading"
        self.failure: AgentError | None = None  # the last, while it is not running
        self.restarts = 0
        self.report: ModelReport | None = None
        self._file = file
        self._resolve = resolve
        self._count = slots
        self._spawner = spawner
        self._on_change = on_change
        self._restart = restart
        self._changed = threading.Condition()  # guards what follows
        self._closing = threading.Event()
        self._given_up: AgentError | None = None
        self._ended = False  # no worker will come any more
        self._process: Process | None = None  # the worker, from its start
        self._ready = False  # whether it takes requests
        self._spec: ModelSpec | None = None
        self._slots: SharedSlots | None = None
        self._free: deque[InputSlot] = deque()
        self._pending: deque[_Request] = deque()
        self._next_id = 0
        self._head_since_ns = 0
        self._deadline_ns = 0
        self._backoff = Backoff(BACKOFF_FIRST_S, BACKOFF_CAP_S, at_once=True)
        self._thread = threading.Thread(target=self._run, name=f"model/{name}")

    @property
    def delegates(self) -> tuple[str, ...]:
        """Asked for, best first."""
        return self._file.options.delegates

    @property
    def known_spec(self) -> ModelSpec | None:
        """The model's spec, None before it has first been loaded."""
        return self._spec

    @property
    def pid(self) -> int | None:
        """Of the worker, if there is one."""
        process = self._process
        return process.pid if process else None

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

    def spec(self, timeout_s: float) -> ModelSpec | None:
        """The model's spec as soon as it is known; None after the timeout, or closed. AgentError where the worker has given up."""
        with self._changed:
            self._changed.wait_for(lambda: self._spec or self._given_up or self._closing.is_set(), timeout_s)
            if self._given_up:
                raise self._given_up
            return self._spec

    def acquire(self, timeout_s: float) -> InputSlot | None:
        """A slot to write into, once the worker runs and one is free; None after the timeout. AgentError where it has given up."""
        with self._changed:
            self._changed.wait_for(lambda: (self._ready and self._free) or self._given_up or self._closing.is_set(), timeout_s)
            if self._given_up:
                raise self._given_up
            return self._free.popleft() if self._ready and self._free else None

    def give_back(self, slot: InputSlot) -> None:
        """Return an acquired slot that will not be submitted."""
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    def submit(self, slot: InputSlot, thresholds: Thresholds, done: Callable[[Outcome], None]) -> None:
        """Run the model on an acquired slot. A request made while the worker restarts is for the new one."""
        with self._changed:
            self._next_id += 1
            view = TensorView(0, slot.input.dtype.name, slot.input.shape)
            request = _Request(Infer(self._next_id, 0, slot.index, [[view]], thresholds), slot, done)
            if not self._pending:
                self._head_since_ns = time.monotonic_ns()
            self._pending.append(request)
            if self._ready and self._process:
                self._send(self._process, request)
            over = self._ended
        if over:
            self._fail_pending()

    def close(self) -> None:
        """End the worker, whatever it is doing; what is under way comes to nothing."""
        with self._changed:
            self._closing.set()
            if self._process:
                self._process.kill()
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        if self._slots is not None:
            self._slots.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            started = time.monotonic()
            try:
                self._live_once()
            except (BundleError, WorkerError) as error:
                if self._closing.is_set():
                    break
                # A model that has run before is restarted for ever: its disk may be in trouble, or its file half-copied.
                if not self._restart or (isinstance(error, BundleError) and self._spec is None):
                    self._give_up(error)
                    return
                if time.monotonic() - started > CLEAN_S:
                    self._backoff.reset()
                self.restarts += 1
                self._set_state("restarting", error)
                self._pause(self._backoff.next_s())
        with self._changed:
            self._ended = True
        self._fail_pending()
        self._set_state("stopped")

    def _live_once(self) -> None:
        """One worker, from its start to its end."""
        process = start_process(self._spawner, self.name, self._file)
        try:
            with self._changed:
                self._process = process
            if self._closing.is_set():  # before there was a process for `close` to kill
                return
            self.report = load_model(process, self._file)
            self._warm_up(process, self.report)
            self._serve(process)
        finally:
            self._abandon(process)

    def _warm_up(self, process: Process, report: ModelReport) -> None:
        """Settle the spec and the slots, the first time, and warm the worker up; then it serves."""
        spec = self._spec or self._resolve(report)
        slots = self._slots or self._make_slots(spec)
        announced = Slots(0, slots.count, slots.slot_bytes)
        inputs = [TensorView(0, spec.tensor.dtype, spec.tensor.shape)]
        output = _input_bytes(spec)
        process.send(Prepare(0, spec.head, spec.input.size, len(spec.labels), inputs, output, announced), slots.descriptor)
        ready = _wait(process, Ready, "warming up")
        self._deadline_ns = int(max(LEAST_DEADLINE_S, DEADLINE_P99S * ready.p99_ms / 1000) * 1e9)
        with self._changed:
            self._spec, self._ready = spec, True
            self._head_since_ns = time.monotonic_ns()
            for request in self._pending:
                self._send(process, request)
            self._changed.notify_all()
        self._set_state("running")

    def _make_slots(self, spec: ModelSpec) -> SharedSlots:
        shape, dtype = spec.tensor.shape, spec.tensor.dtype
        offset, room = _input_bytes(spec), output_bytes(spec)
        slots = self._slots = SharedSlots.create(self.name, self._count, offset + room)
        self._free.extend(
            InputSlot(i, slots.array(i, shape, dtype), slots.array(i, (room,), offset=offset)) for i in range(self._count)
        )
        return slots

    def _serve(self, process: Process) -> None:
        """Deliver answers until `close`."""
        while not self._closing.is_set():
            with self._changed:
                due_ns = self._head_since_ns + self._deadline_ns if self._pending else None
            look_ns = time.monotonic_ns() + int(CLOSING_LOOK_S * 1e9)
            message = process.receive(look_ns if due_ns is None else min(look_ns, due_ns))
            if message is not None:
                self._deliver(_unwrap(process, message, Inferred))
            elif due_ns is not None and time.monotonic_ns() >= due_ns:
                raise WorkerError(f"{self.name}: no answer within {self._deadline_ns / 1e9:.1f} s", "deadline")

    def _deliver(self, answer: Inferred) -> None:
        with self._changed:
            if not self._pending or self._pending[0].message.id != answer.id:
                raise WorkerError(f"{self.name}: the worker answered a request that is not the next", "protocol")
            request = self._pending[0]
        assert self._spec is not None  # noqa: S101  it serves
        try:
            (arrays,) = answer.items
            prediction = check_prediction(arrays, self._spec, request.message.thresholds, request.slot.output)
        except ValueError as error:
            raise WorkerError(f"{self.name}: the worker's answer is wrong: {error}", "protocol") from None
        with self._changed:
            self._pending.popleft()
            self._head_since_ns = time.monotonic_ns()
            self._free.append(request.slot)
            self._changed.notify_all()
        request.done(Outcome(prediction, answer.inference_ms, answer.postprocess_ms))

    def _send(self, process: Process, request: _Request) -> None:
        try:
            process.send(request.message)
        except WorkerError as error:
            log.debug("%s; the thread that reads will see it too", error)

    def _abandon(self, process: Process) -> None:
        """End a process and what was under way in it."""
        with self._changed:
            self._process, self._ready = None, False
        process.end()
        self._fail_pending()

    def _fail_pending(self) -> None:
        """What is under way comes to nothing."""
        with self._changed:
            failed = list(self._pending)
            self._pending.clear()
            self._free.extend(request.slot for request in failed)
            self._changed.notify_all()
        for request in failed:
            request.done(Outcome(None))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(self._closing.is_set, seconds)

    def _give_up(self, error: AgentError) -> None:
        with self._changed:
            self._given_up, self._ended = error, True
            self._changed.notify_all()
        self._fail_pending()
        self._set_state("failed", error)

    def _set_state(self, state: State, failure: AgentError | None = None) -> None:
        self.state, self.failure = state, failure
        self._on_change(self)
