"""The model worker's process: loads models and runs them on what lies in the shared slots. Run as a module by the spawner."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from queue import SimpleQueue
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.core.heads import HEADS, Head, ModelOutputs
from agent.core.nms import nms
from agent.core.spec import HeadSpec, Thresholds
from agent.core.types import Classes, Detections, Poses, Prediction, Segments
from agent.errors import BundleError, Reject
from agent.loading import load_class
from agent.runtimes import ModelReport, Runtime
from agent.worker import child, protocol
from agent.worker.protocol import Arrays, Fault, Infer, Inferred, Load, Loaded, Prepare, Ready
from agent.worker.slots import SharedSlots

WARM_UP_RUNS = 10
WARM_UP_S = 0.5  # a slow model is run less often, but twice at least
POSE_BYTES = 24  # of a packet, without its points
MOST_POSE_BYTES = protocol.MAX_PACKET - 1024  # the best that fit: some 800 people of 17 points
MOST_METADATA_BYTES = protocol.MAX_PACKET - 64 * 1024  # the rest is for the tensors' names and shapes
UNSUPPRESSED = Thresholds(score=0.0, iou=None)


class Model:
    """A loaded model with its head and its slots."""

    def __init__(self, load: Load) -> None:
        self.runtime: Runtime = load_class(load.runtime)(load.path, load.options)
        self._head: Head
        self._slots: SharedSlots
        self._output: int

    def prepare(self, prepare: Prepare, descriptor: int) -> float:
        """Take head and slots, and warm up; returns the slowest run in ms."""
        self._head = make_head(prepare.head, ModelOutputs(self.runtime.report.outputs, prepare.input_size, prepare.classes))
        self._slots = SharedSlots(descriptor, prepare.slots.count, prepare.slots.slot_bytes)
        self._slots.close()
        self._output = prepare.output
        zeros = [np.zeros(view.shape, view.dtype) for view in prepare.inputs]
        runs_ms: list[float] = []
        end = time.monotonic() + WARM_UP_S
        while len(runs_ms) < WARM_UP_RUNS and (len(runs_ms) < 2 or time.monotonic() < end):
            start = time.perf_counter()
            self._arrays(self._predict(self.runtime.run(zeros), UNSUPPRESSED), None)
            runs_ms.append((time.perf_counter() - start) * 1000)
        return max(runs_ms)

    def inputs(self, request: Infer) -> list[list[NDArray[Any]]]:
        """Each item's tensors, on the slot's memory."""
        return [[self._slots.array(request.slot, view.shape, view.dtype, view.offset) for view in item] for item in request.items]

    def answer(self, invoked: "Invoked") -> Inferred:
        """Decode, and suppress overlaps."""
        start = time.perf_counter()
        thresholds = invoked.request.thresholds
        answers = [self._arrays(self._predict(outputs, thresholds), invoked.request.slot) for outputs in invoked.outputs]
        return Inferred(invoked.request.id, answers, invoked.ms, (time.perf_counter() - start) * 1000)

    def _predict(self, outputs: Sequence[NDArray[Any]], thresholds: Thresholds) -> Prediction:
        found = self._head(outputs, thresholds)
        if isinstance(found, Segments):
            return found
        if isinstance(found, Classes) or thresholds.iou is None:
            return found[: thresholds.max_detections]
        kept = nms(
            found.boxes,
            found.scores,
            found.class_ids,
            iou=thresholds.iou,
            class_agnostic=thresholds.class_agnostic,
            max_detections=thresholds.max_detections,
        )
        return found[kept]

    def _arrays(self, found: Prediction, slot: int | None) -> Arrays:
        """For the packet; a class map goes into the slot, of a warm-up nowhere. ValueError where it does not fit."""
        if isinstance(found, Segments):
            height, width = found.class_map.shape
            if self._output + found.class_map.nbytes > self._slots.slot_bytes:
                raise ValueError(f"the model gives a class map of {width}x{height}, which is larger than its input")
            if slot is not None:
                self._slots.array(slot, (height, width), "int16", self._output)[:] = found.class_map
            return Arrays(map_size=(height, width))
        if isinstance(found, Poses):
            found = found[: MOST_POSE_BYTES // (POSE_BYTES + found.points[:1].nbytes)]
        return Arrays(
            found.scores.tobytes(),
            found.class_ids.tobytes(),
            found.boxes.tobytes() if isinstance(found, Detections | Poses) else None,
            found.points.tobytes() if isinstance(found, Poses) else None,
        )


@dataclass(frozen=True, slots=True)
class Invoked:
    """A request whose inference is done. outputs: of each item, arrays of their own."""

    model: Model
    request: Infer
    outputs: list[Sequence[NDArray[Any]]]
    ms: float


def make_head(spec: HeadSpec, outputs: ModelOutputs) -> Head:
    """The head that a spec names, for a model's outputs; ValueError where they do not fit."""
    head = load_class(HEADS[spec.type])
    made: Head = head(outputs, msgspec.convert(spec.options, head.Options))
    return made


def sendable(report: ModelReport) -> ModelReport:
    """A report that fits into a packet: of too much metadata without the longest entries. BundleError if it still does not fit."""
    sizes = {name: len(name.encode()) + len(text.encode()) for name, text in report.metadata.items()}
    by_size = sorted(sizes, key=sizes.__getitem__)
    totals = accumulate(sizes[name] for name in by_size)
    fitting = {name for name, total in zip(by_size, totals, strict=True) if total <= MOST_METADATA_BYTES}
    report = replace(report, metadata={name: text for name, text in report.metadata.items() if name in fitting})
    if len(msgspec.msgpack.encode(Loaded(0, report))) > protocol.MAX_PACKET:
        raise BundleError(f"the model has {len(report.inputs)} inputs and {len(report.outputs)} outputs, more than can be told")
    return report


def serve(channel: socket.socket) -> NoReturn:
    """Answer the agent's requests until it closes the channel. Decoding goes on in a second thread, beside the next inference."""
    decoder = msgspec.msgpack.Decoder(protocol.ToModelWorker)
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    invoked: SimpleQueue[Invoked] = SimpleQueue()
    threading.Thread(target=guarded, args=(channel, lambda: postprocess(channel, invoked)), daemon=True).start()
    models: dict[int, Model] = {}
    last: Invoked | None = None
    while True:
        # Where the next request waits already, it is read first: the thread that decodes `last` would hold the interpreter's lock.
        if last is not None and not poll.poll(0):
            invoked.put(last)
            last = None
        message, descriptor = protocol.receive(channel, decoder)
        if isinstance(message, Infer):
            model = models[message.model]
            inputs = model.inputs(message)
            if last is not None:
                invoked.put(last)
            start = time.perf_counter()
            outputs = [model.runtime.run(item) for item in inputs]
            last = Invoked(model, message, outputs, (time.perf_counter() - start) * 1000)
        elif isinstance(message, Load):
            models[message.model] = model = Model(message)
            protocol.send(channel, Loaded(message.model, sendable(model.runtime.report)))
        elif descriptor is not None:
            protocol.send(channel, Ready(message.model, models[message.model].prepare(message, descriptor)))


def postprocess(channel: socket.socket, invoked: "SimpleQueue[Invoked]") -> NoReturn:
    """Answer what has been through its model, in order."""
    while True:
        job = invoked.get()
        protocol.send(channel, job.model.answer(job))


def guarded(channel: socket.socket, work: Callable[[], NoReturn]) -> None:
    """Work until the agent has gone; what else ends it, a model's file or tensors, say, is told before the process ends."""
    try:
        work()
    except (EOFError, BrokenPipeError):
        pass
    except (Reject, ValueError) as error:
        protocol.send(channel, Fault(" ".join(str(error).split()), rejected=True))
    except Exception as error:  # noqa: BLE001  a runtime may raise anything; the agent must be told what
        protocol.send(channel, Fault(f"{type(error).__name__}: {' '.join(str(error).split())}"))
    os._exit(1)  # no destructor of a runtime that has just failed


def main() -> None:
    """The process's first thread."""
    channel = child.start()
    guarded(channel, lambda: serve(channel))


if __name__ == "__main__":
    main()
