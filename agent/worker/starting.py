"""From a model's variants and their delegates to a worker that serves: started, loaded and warm."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.core.spec import ModelSpec
from agent.errors import BundleError, DeviceUnfitError, WorkerError
from agent.runtimes import Delegate, ModelReport, RuntimeOptions
from agent.worker import protocol
from agent.worker.process import WorkerProcess
from agent.worker.protocol import Fault, Inferred, Load, Loaded, Prepare, Ready, Slots, TensorView
from agent.worker.replies import output_bytes
from agent.worker.slots import ALIGNMENT, SharedSlots
from agent.worker.spawner import Spawner

LOAD_S = 120.0  # a large model from a slow card, compiled for an accelerator
LEAST_DEADLINE_S = 1.0
DEADLINE_P99S = 5.0

Process = WorkerProcess[protocol.FromModelWorker]
Answer = TypeVar("Answer", Loaded, Ready, Inferred)
Used = TypeVar("Used")
_decoder = msgspec.msgpack.Decoder(protocol.FromModelWorker)


@dataclass(frozen=True, slots=True)
class Variant:
    """A model file that a slot may run.

    id: of the bundle's variant, empty where it has none. runtime: "module:Class". resolve: decides the model's spec from what the
    runtime reports. delegates: asked for, best first. strict: on no other, whatever the runtime takes instead.
    """

    id: str
    path: str
    runtime: str
    resolve: Callable[[ModelReport], ModelSpec]
    delegates: tuple[Delegate, ...]
    strict: bool = False

    def on(self, delegate: str) -> str:
        """How one of its delegates is called beside those of other variants."""
        return f"{delegate} of variant {self.id}" if self.id else delegate


@dataclass(frozen=True, slots=True)
class Rung:
    """A step of the chain: a variant, as its index, on a delegate."""

    variant: int
    delegate: Delegate


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What a slot may run and how: at least one variant, best first. unfit: the bundle's others, and why they are left out."""

    place: str
    variants: tuple[Variant, ...]
    unfit: Mapping[str, str]
    threads: int
    graph_optimization: str
    memory_limit_bytes: int

    def rungs(self) -> tuple[Rung, ...]:
        """The whole chain, best first."""
        return tuple(Rung(i, delegate) for i, variant in enumerate(self.variants) for delegate in variant.delegates)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in a worker. refused: delegates that were not to be had or rejected the model, as `Variant.on`, and why."""

    process: Process
    variant: Variant
    rung: Rung
    report: ModelReport
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class InputSlot:
    """A slot to write a model's input into; the writer's until it is submitted or given back.

    output: where large answers come. spec: of the model that it is for.
    """

    index: int
    input: NDArray[Any]
    output: NDArray[np.uint8]
    spec: ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The slots of a model; workers that serve one after the other share them as long as the spec stays the same."""

    spec: ModelSpec
    shared: SharedSlots
    slots: tuple[InputSlot, ...]

    @classmethod
    def create(cls, name: str, spec: ModelSpec, count: int) -> "Pool":
        """New slots for a spec. WorkerError where there is no memory."""
        shape, dtype = spec.tensor.shape, spec.tensor.dtype
        offset, room = _input_bytes(spec), output_bytes(spec)
        shared = SharedSlots.create(name, count, offset + room)
        slots = (InputSlot(i, shared.array(i, shape, dtype), shared.array(i, (room,), offset=offset), spec) for i in range(count))
        return cls(spec, shared, tuple(slots))


def _input_bytes(spec: ModelSpec) -> int:
    """What a model's input takes of a slot."""
    return math.ceil(math.prod(spec.tensor.shape) * np.dtype(spec.tensor.dtype).itemsize / ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Serving:
    """A worker that takes requests. deadline_ns: for an answer."""

    loaded: LoadedModel
    pool: Pool
    deadline_ns: int


class Start:
    """One try to have a worker; `cancel`, from any thread, ends it as a WorkerError."""

    def __init__(self, spawner: Spawner, name: str, plan: ModelPlan) -> None:
        self._spawner = spawner
        self._name = name
        self._plan = plan
        self._lock = threading.Lock()
        self._process: Process | None = None
        self.cancelled = False

    @property
    def pid(self) -> int | None:
        """Of the process that is being started, or that has been."""
        process = self._process
        return process.pid if process else None

    def cancel(self) -> None:
        """Kill what has been started."""
        with self._lock:
            self.cancelled = True
            if self._process:
                self._process.kill()

    def load(self, rungs: Sequence[Rung], *, strict: bool = False) -> LoadedModel:
        """The first variant that can be loaded, on the first of its delegates that can be had. strict: see `Variant`, for all.

        BundleError where there is none, naming each variant and why not, DeviceUnfitError if all of them are fine as such;
        WorkerError where a worker fails.
        """
        return self._first(rungs, lambda loaded: loaded, strict=strict)

    def serve(self, rungs: Sequence[Rung], count: int, pool: Pool | None, *, strict: bool = False) -> Serving:
        """As `load`, and then warm and with `count` slots: those of `pool`, where the model is still the same."""
        return self._first(rungs, lambda loaded: self._prepare(loaded, count, pool), strict=strict)

    def _first(self, rungs: Sequence[Rung], use: Callable[[LoadedModel], Used], *, strict: bool) -> Used:
        """What `use` makes of the first loaded model for which it raises no BundleError."""
        failed: dict[str, BundleError] = {}
        refused: dict[str, str] = {}
        while rungs:
            variant = self._plan.variants[rungs[0].variant]
            tried = [rung for rung in rungs if rung.variant == rungs[0].variant]
            process = self._new_process()
            try:
                report = self._load(process, variant, tuple(rung.delegate for rung in tried), strict=strict or variant.strict)
                names = [rung.delegate.name for rung in tried]
                if report.delegate in names:
                    tried = tried[: names.index(report.delegate) + 1]
                refused |= {variant.on(delegate): why for delegate, why in report.refused.items()}
                return use(LoadedModel(process, variant, tried[-1], report, refused))
            except BundleError as error:
                process.end()
                failed.setdefault(variant.id, error)
                for rung in tried:
                    refused.setdefault(variant.on(rung.delegate.name), str(error))
                rungs = rungs[len(tried) :]
            except BaseException:
                process.end()
                raise
        raise _nothing_serves(self._plan, failed)

    def _prepare(self, loaded: LoadedModel, count: int, pool: Pool | None) -> Serving:
        new: Pool | None = None
        try:
            spec = loaded.variant.resolve(loaded.report)
            if pool is None or pool.spec != spec:
                pool = new = Pool.create(self._name, spec, count)
            return Serving(loaded, pool, self._warm_up(loaded.process, pool))
        except BaseException:
            if new:
                new.shared.close()
            raise

    def _new_process(self) -> Process:
        process = Process(self._spawner, "agent.worker.model_child", self._name, _decoder, self._plan.memory_limit_bytes)
        with self._lock:
            self._process = process
            if self.cancelled:
                process.kill()
        return process

    def _load(self, process: Process, variant: Variant, delegates: tuple[Delegate, ...], *, strict: bool) -> ModelReport:
        options = RuntimeOptions(self._plan.threads, delegates, self._plan.graph_optimization)
        process.send(Load(0, variant.runtime, variant.path, options))
        try:
            report = _wait(process, Loaded, f"loading {variant.path}").report
        except BundleError as error:  # of a model that loads nowhere else, nobody can tell whether it or the delegate is to blame
            raise DeviceUnfitError(str(error)) if variant.strict else error from None
        if strict and all(report.delegate != delegate.name for delegate in delegates):
            why = "; ".join(f"{name}: {why}" for name, why in report.refused.items())
            raise DeviceUnfitError(f"{variant.path}: it would run on {report.delegate} instead; {why}")
        return report

    def _warm_up(self, process: Process, pool: Pool) -> int:
        """Hand a worker its slots and let it warm up; returns the deadline for its answers, in ns."""
        spec, shared = pool.spec, pool.shared
        inputs = [TensorView(0, spec.tensor.dtype, spec.tensor.shape)]
        announced = Slots(0, shared.count, shared.slot_bytes)
        start = time.monotonic()
        process.send(
            Prepare(0, spec.head, spec.input.size, len(spec.labels), inputs, _input_bytes(spec), announced), shared.descriptor
        )
        ready = _wait(process, Ready, "warming up")
        p99_s = min(ready.p99_ms / 1000, time.monotonic() - start)  # one of its runs cannot have taken longer than all
        return int(max(LEAST_DEADLINE_S, DEADLINE_P99S * p99_s) * 1e9)


class Trial:
    """A start beside a worker that serves, in a thread of its own."""

    def __init__(self, start: Start, rungs: Sequence[Rung], pool: Pool) -> None:
        self.serving: Serving | None = None  # once it is done, if it went well
        self.done = threading.Event()
        self.start = start
        self._rungs = rungs
        self._pool = pool
        self._thread = threading.Thread(target=self._run, name="trial")
        self._thread.start()

    def cancel(self) -> None:
        """End it, with the worker that it may have made."""
        self.start.cancel()
        self._thread.join()
        if self.serving:
            self.serving.loaded.process.end()
            if self.serving.pool is not self._pool:
                self.serving.pool.shared.close()

    def _run(self) -> None:
        try:
            for begin in range(len(self._rungs)):  # whatever crashes must not hide what comes after it
                if self.serving or self.start.cancelled:
                    break
                with contextlib.suppress(WorkerError):
                    self.serving = self.start.serve(self._rungs[begin:], len(self._pool.slots), self._pool, strict=True)
        except BundleError:
            pass  # what serves goes on serving
        finally:
            self.done.set()


def _wait(process: Process, kind: type[Answer], doing: str) -> Answer:
    message = process.receive(time.monotonic_ns() + int(LOAD_S * 1e9))
    if message is None:
        raise WorkerError(f"{process.name}: no answer within {LOAD_S:.0f} s while {doing}", "deadline")
    return unwrap(process, message, kind)


def unwrap(process: Process, message: protocol.FromModelWorker, kind: type[Answer]) -> Answer:
    """The message, if it is of a kind; what a Fault says otherwise: BundleError where that rejects the model, else WorkerError.

    A model that has answered before is not rejected any more: its worker has failed.
    """
    if isinstance(message, kind):
        return message
    if not isinstance(message, Fault):
        raise WorkerError(f"{process.name}: the worker sent {type(message).__name__} for {kind.__name__}", "protocol")
    if not message.rejected:
        raise WorkerError(f"{process.name}: the worker failed: {message.message}", "crashed")
    if kind is Inferred:
        raise WorkerError(f"{process.name}: {message.message}", "protocol")
    raise BundleError(message.message)


def _nothing_serves(plan: ModelPlan, failed: Mapping[str, BundleError]) -> BundleError:
    if len(failed) == 1 and not plan.unfit:
        return next(iter(failed.values()))
    unfit = no_variant(plan.place, {**plan.unfit, **{id_: str(error) for id_, error in failed.items()}})
    return unfit if all(isinstance(error, DeviceUnfitError) for error in failed.values()) else BundleError(str(unfit))


def no_variant(place: str, reasons: Mapping[str, str]) -> DeviceUnfitError:
    """What to say where no variant of a bundle serves. reasons: variant's id to why not."""
    return DeviceUnfitError(f"{place}: no variant serves here: {'; '.join(f'{id_}: {why}' for id_, why in reasons.items())}")
